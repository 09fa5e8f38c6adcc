"""The demo's rooms and conversations hold together."""

from chatnode.identity.demo_users import DEMO_USERS
from chatnode.local.seed import Line, load_demo
from chatnode.protocol.ids import direct_room

DEMO = load_demo()
USERS = {user.user for user in DEMO_USERS}
ROLES = {user.user: user.role for user in DEMO_USERS}


def test_ids_are_unique() -> None:
    assert len(USERS) == len(DEMO_USERS)
    rooms = [course.room for course in DEMO.courses] + [direct_room(*direct.people) for direct in DEMO.direct]
    assert len(set(rooms)) == len(rooms)


def test_only_members_speak_react_and_are_mentioned() -> None:
    for talk in (*DEMO.courses, *DEMO.direct):
        people = set(talk.people)
        assert people <= USERS
        for line in talk.talk:
            assert {line.by, *line.mentions}.union(*line.reactions.values()) <= people


def test_replies_point_back() -> None:
    def points_back(number: int, line: Line) -> bool:
        return line.reply_to is None or 0 <= line.reply_to < number

    for talk in (*DEMO.courses, *DEMO.direct):
        assert all(points_back(number, line) for number, line in enumerate(talk.talk))


def test_courses_have_a_trainer_and_learners() -> None:
    for course in DEMO.courses:
        assert {"trainer", "learner"} <= {ROLES[user] for user in course.people}


def test_direct_conversations_are_between_a_learner_and_a_trainer() -> None:
    for direct in DEMO.direct:
        assert sorted(ROLES[user] for user in direct.people) == ["learner", "trainer"]
