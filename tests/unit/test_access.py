"""Who may do what, cell by cell against a table written out here."""

import itertools
from typing import Final, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatnode.access.rules import Action, decide, decide_direct, decide_rank, decide_service
from chatnode.access.scopes import is_service
from chatnode.protocol.control import Role, RoomKind
from chatnode.protocol.errors import ErrorCode

ROLES: Final[tuple[Role, ...]] = get_args(Role)
KINDS: Final[tuple[RoomKind, ...]] = get_args(RoomKind)

# action: open course, closed course, open direct, closed direct; each for learner, trainer, moderator.
# y allowed, n forbidden, c refused because the room is closed.
TABLE: Final = """
read          yyy yyy  yyy yyy
send          yyy ccc  yyy ccc
edit_own      yyy ccc  yyy ccc
delete_own    yyy ccc  yyy ccc
delete_any    nyy ncc  nnn nnn
react         yyy ccc  yyy ccc
type          yyy ccc  yyy ccc
mark_read     yyy yyy  yyy yyy
see_presence  yyy yyy  yyy yyy
add_member    nyy ncc  nnn nnn
remove_member nyy ncc  nnn nnn
set_role      nyy ncc  nnn nnn
leave         yyy yyy  nnn nnn
change_room   nnn nnn  nnn nnn
"""
MEANING: Final = {"y": None, "n": ErrorCode.FORBIDDEN, "c": ErrorCode.ROOM_CLOSED}


def cells() -> list[tuple[RoomKind, Role, Action, bool, ErrorCode | None]]:
    found = []
    for line in TABLE.strip().splitlines():
        name, *columns = line.split()
        for (kind, closed), marks in zip(itertools.product(KINDS, (False, True)), columns, strict=True):
            for role, mark in zip(ROLES, marks, strict=True):
                found.append((kind, role, Action(name), closed, MEANING[mark]))
    return found


@pytest.mark.parametrize(("kind", "role", "action", "closed", "expected"), cells())
def test_each_cell_is_as_written(
    kind: RoomKind, role: Role, action: Action, closed: bool, expected: ErrorCode | None
) -> None:
    assert decide(kind, role, action, closed=closed) is expected


def test_the_written_table_has_every_cell() -> None:
    assert KINDS == ("course", "direct")
    assert ROLES == ("learner", "trainer", "moderator")
    written = {(kind, role, action, closed) for kind, role, action, closed, _ in cells()}
    assert written == set(itertools.product(KINDS, ROLES, Action, (False, True)))


@pytest.mark.parametrize("action", Action)
@pytest.mark.parametrize("kind", KINDS)
def test_a_stranger_learns_nothing(kind: RoomKind, action: Action) -> None:
    assert decide(kind, None, action, closed=False) is ErrorCode.NOT_FOUND
    assert decide(kind, None, action, closed=True) is ErrorCode.NOT_FOUND


@given(st.sampled_from(KINDS), st.sampled_from(ROLES), st.sampled_from(Action))
def test_closing_a_room_never_gives_a_right(kind: RoomKind, role: Role, action: Action) -> None:
    if decide(kind, role, action, closed=False) is not None:
        assert decide(kind, role, action, closed=True) is not None


@pytest.mark.parametrize("action", Action)
def test_the_backend_manages_courses_and_reads_everything(action: Action) -> None:
    course = {Action.READ, Action.ADD_MEMBER, Action.REMOVE_MEMBER, Action.SET_ROLE, Action.CHANGE_ROOM}
    assert decide_service("course", action) is (None if action in course else ErrorCode.FORBIDDEN)
    assert decide_service("direct", action) is (None if action is Action.READ else ErrorCode.FORBIDDEN)


RANKED: Final = {
    "trainer": {None: True, "learner": True, "moderator": True, "trainer": True},
    "moderator": {None: True, "learner": True, "moderator": True, "trainer": False},
    "learner": {None: True, "learner": True, "moderator": False, "trainer": False},
}


@pytest.mark.parametrize("actor", ROLES)
def test_nobody_gives_or_takes_a_role_above_their_own(actor: Role) -> None:
    for before, after in itertools.product((None, *ROLES), repeat=2):
        allowed = RANKED[actor][before] and RANKED[actor][after]
        assert decide_rank(actor, before, after) is (None if allowed else ErrorCode.FORBIDDEN)


@pytest.mark.parametrize(
    ("shared", "expected"),
    [
        ([], ErrorCode.NOT_FOUND),
        ([("learner", "learner")], ErrorCode.FORBIDDEN),
        ([("learner", "trainer")], None),
        ([("trainer", "learner")], None),
        ([("learner", "moderator")], None),
        ([("moderator", "learner")], None),
        ([("trainer", "trainer")], None),
        ([("trainer", "moderator")], None),
        ([("moderator", "trainer")], None),
        ([("moderator", "moderator")], None),
        ([("learner", "learner"), ("learner", "trainer")], None),
    ],
)
def test_who_may_write_to_whom_in_private(shared: list[tuple[Role, Role]], expected: ErrorCode | None) -> None:
    assert decide_direct(shared) is expected


@given(st.lists(st.tuples(st.sampled_from(ROLES), st.sampled_from(ROLES))))
def test_it_does_not_matter_which_of_the_two_opens_it(shared: list[tuple[Role, Role]]) -> None:
    assert decide_direct(shared) is decide_direct([(other, one) for one, other in shared])


@pytest.mark.parametrize(
    ("scopes", "expected"),
    [((), False), (("chat:admin",), True), (("openid", "chat:admin"), True), (("chat:administrator",), False)],
)
def test_only_the_whole_scope_makes_a_service(scopes: tuple[str, ...], expected: bool) -> None:
    assert is_service(frozenset(scopes)) is expected
