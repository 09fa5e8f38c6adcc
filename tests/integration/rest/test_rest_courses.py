"""Courses over HTTP: who makes and changes them, who adds and removes whom, who reads them."""

import asyncio
import random
import time
from typing import Final

import pytest

from chatnode.broker.connection import connect as nats_connect
from chatnode.protocol.control import MemberPut, RoomPut, decode_control
from tests.integration.rest.site import SERVICE, Person, Site, eventually, say, until_said

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_course_is_made_and_seen_by_its_members_at_once(site: Site, room: str, person: Person) -> None:
    claire, amina = person("claire"), person("amina")
    await site.course(room, **{claire: "trainer", amina: "learner"})
    reply = await site.ask("GET", f"/v1/rooms/{room}", by=amina)
    assert reply.status == 200
    assert reply.body == {
        "room": room,
        "kind": "course",
        "title": room,
        "closed": False,
        "members": [
            {"user": amina, "role": "learner", "name": amina.upper()},
            {"user": claire, "role": "trainer", "name": claire.upper()},
        ],
    }
    listed = (await site.ask("GET", "/v1/rooms", by=amina)).body["rooms"]
    assert listed == [
        {"room": room, "kind": "course", "title": room, "closed": False, "role": "learner", "last_ts": 0, "unread": 0}
    ]


async def test_the_other_node_knows_within_two_seconds(site: Site, room: str, person: Person) -> None:
    amina = person("amina")
    await site.course(room, **{amina: "learner"})

    async def seen() -> bool:
        return (await site.ask("GET", f"/v1/rooms/{room}", by=amina, node=1)).status == 200

    await eventually(seen, within=2.0)


async def test_changing_a_course_keeps_its_members_and_adds_new_ones(site: Site, room: str, person: Person) -> None:
    amina, hugo = person("amina"), person("hugo")
    await site.course(room, **{amina: "learner"})
    body = {"kind": "course", "title": "Réseaux", "closed": True, "members": [{"user": hugo, "role": "moderator"}]}
    reply = await site.ask("PUT", f"/v1/rooms/{room}", body)
    assert (reply.body["title"], reply.body["closed"]) == ("Réseaux", True)
    assert {(each["user"], each["role"]) for each in reply.body["members"]} == {
        (amina, "learner"),
        (hugo, "moderator"),
    }
    renamed = await site.ask(
        "PUT",
        f"/v1/rooms/{room}",
        {"kind": "course", "title": "Réseaux 2", "members": [{"user": amina, "role": "trainer"}]},
    )
    assert {(each["user"], each["role"], each["name"]) for each in renamed.body["members"]} == {
        (amina, "trainer", amina.upper()),
        (hugo, "moderator", ""),
    }
    assert renamed.body["closed"] is True
    opened = await site.ask("PUT", f"/v1/rooms/{room}", {"kind": "course", "title": "Réseaux 2", "closed": False})
    assert opened.body["closed"] is False


@pytest.mark.parametrize("by", ["trainer", "moderator", "learner", "outsider"])
async def test_courses_are_made_and_changed_by_the_platform_alone(
    site: Site, room: str, person: Person, by: str
) -> None:
    await site.course(room, **{person(role): role for role in ("trainer", "moderator", "learner")})
    for target in (room, f"{room}-new"):
        reply = await site.ask("PUT", f"/v1/rooms/{target}", {"kind": "course", "title": "x"}, by=person(by))
        assert (reply.status, reply.code) == (403, "forbidden")


# who asks, whom they add (with which role), what they are answered; the same for removing that person.
MEMBER_CASES: Final = [
    ("platform", "trainer", 200),
    ("trainer", "trainer", 200),
    ("trainer", "moderator", 200),
    ("trainer", "learner", 200),
    ("moderator", "moderator", 200),
    ("moderator", "learner", 200),
    ("moderator", "trainer", 403),
    ("learner", "learner", 403),
    ("outsider", "learner", 404),
]


@pytest.mark.parametrize(("by", "role", "status"), MEMBER_CASES)
async def test_who_adds_whom(site: Site, room: str, person: Person, by: str, role: str, status: int) -> None:
    await site.course(room, **{person(each): each for each in ("trainer", "moderator", "learner")})
    caller = by if by == SERVICE else person(by)
    reply = await site.ask("PUT", f"/v1/rooms/{room}/members/{person('new')}", {"role": role, "name": "N"}, by=caller)
    assert reply.status == status
    seen = await site.ask("GET", f"/v1/rooms/{room}", by=person("new"))
    assert seen.status == (200 if status == 200 else 404)


@pytest.mark.parametrize(("by", "role", "status"), MEMBER_CASES)
async def test_who_removes_whom(site: Site, room: str, person: Person, by: str, role: str, status: int) -> None:
    await site.course(
        room, **{person(each): each for each in ("trainer", "moderator", "learner")}, **{person("old"): role}
    )
    caller = by if by == SERVICE else person(by)
    reply = await site.ask("DELETE", f"/v1/rooms/{room}/members/{person('old')}", by=caller)
    assert reply.status == status
    seen = await site.ask("GET", f"/v1/rooms/{room}", by=person("old"))
    assert seen.status == (404 if status == 200 else 200)


async def test_a_moderator_makes_nobody_a_trainer_and_no_trainer_less(site: Site, room: str, person: Person) -> None:
    claire, sophie, amina = person("claire"), person("sophie"), person("amina")
    await site.course(room, **{claire: "trainer", sophie: "moderator", amina: "learner"})
    for user, role in ((sophie, "trainer"), (amina, "trainer"), (claire, "learner")):
        reply = await site.ask("PUT", f"/v1/rooms/{room}/members/{user}", {"role": role}, by=sophie)
        assert (reply.status, reply.code, reply.body["error"]["field"]) == (403, "forbidden", "role")
    reply = await site.ask("PUT", f"/v1/rooms/{room}/members/{amina}", {"role": "moderator"}, by=sophie)
    assert reply.status == 200
    shown = await site.ask("GET", f"/v1/rooms/{room}", by=amina)
    assert {"user": amina, "role": "moderator", "name": amina.upper()} in shown.body["members"]


async def test_everybody_may_leave_a_course(site: Site, room: str, person: Person) -> None:
    amina = person("amina")
    await site.course(room, **{amina: "learner"})
    reply = await site.ask("DELETE", f"/v1/rooms/{room}/members/{amina}", by=amina)
    assert reply.status == 200
    assert reply.body["seq"] > 0
    assert (await site.ask("GET", f"/v1/rooms/{room}", by=amina)).status == 404
    assert (await site.ask("GET", "/v1/rooms", by=amina)).body == {"rooms": []}
    assert (await site.ask("DELETE", f"/v1/rooms/{room}/members/{amina}", by=amina)).status == 404


async def test_in_a_closed_course_only_the_platform_changes_members(site: Site, room: str, person: Person) -> None:
    claire, amina = person("claire"), person("amina")
    await site.course(room, **{claire: "trainer", amina: "learner"})
    await site.ask("PUT", f"/v1/rooms/{room}", {"kind": "course", "title": "x", "closed": True})
    refused = await site.ask("DELETE", f"/v1/rooms/{room}/members/{amina}", by=claire)
    assert (refused.status, refused.code) == (409, "room_closed")
    assert (await site.ask("DELETE", f"/v1/rooms/{room}/members/{amina}")).status == 200


async def test_removal_ends_subscriptions_on_every_node_within_two_seconds(
    site: Site, room: str, person: Person
) -> None:
    claire, amina = person("claire"), person("amina")
    await site.course(room, **{claire: "trainer", amina: "learner"})
    sockets = [await site.socket(amina, node=node) for node in (0, 1)]
    for socket in sockets:
        await say(socket, type="subscribe", id="s", room=room)
        await until_said(socket, type="ack", id="s")
    began = time.monotonic()
    assert (await site.ask("DELETE", f"/v1/rooms/{room}/members/{amina}", by=claire)).status == 200
    for socket in sockets:
        await until_said(socket, kind="unsubscribed", room=room)
    assert time.monotonic() - began < 2.0
    for socket in sockets:
        await say(socket, type="send", id="m", room=room, text="still here?")
        assert (await until_said(socket, id="m"))["code"] == "not_found"
        await socket.close()


async def test_history_is_read_by_members_and_the_platform(site: Site, room: str, person: Person) -> None:
    amina, hugo = person("amina"), person("hugo")
    await site.course(room, **{amina: "learner"})
    socket = await site.socket(amina)
    for number in range(3):
        await say(socket, type="send", id=f"{room}-{number}", room=room, text=f"n{number}")
        await until_said(socket, type="ack", id=f"{room}-{number}")
    await socket.close()
    for by in (amina, SERVICE):
        reply = await site.ask("GET", f"/v1/rooms/{room}/messages", by=by)
        assert reply.status == 200
        # The worker's notice that somebody joined may stand anywhere among them.
        messages = [message for message in reply.body["messages"] if "notice" not in message]
        assert [message["text"] for message in messages] == ["n0", "n1", "n2"]
        assert (reply.body["more_before"], reply.body["more_after"]) == (False, False)
    at = f"{messages[1]['epoch']}-{messages[1]['seq']}"
    before = await site.ask("GET", f"/v1/rooms/{room}/messages?before={at}", by=amina)
    assert [message["text"] for message in before.body["messages"] if "notice" not in message] == ["n0"]
    after = await site.ask("GET", f"/v1/rooms/{room}/messages?after={at}&limit=1", by=amina)
    assert len(after.body["messages"]) == 1
    stranger = await site.ask("GET", f"/v1/rooms/{room}/messages", by=hugo)
    assert (stranger.status, stranger.code) == (404, "not_found")


@pytest.mark.timeout(240)
async def test_changes_through_two_nodes_at_once_end_in_the_same_on_both(site: Site, room: str, person: Person) -> None:
    """Each node's view, the projection behind it and the control stream itself agree, and what one wrote it reads."""
    people = [person(f"p{number}") for number in range(6)]
    await site.course(room, **{people[0]: "learner"})
    chance = random.Random(7)

    async def change(number: int) -> None:
        node, user = number % 2, chance.choice(people)
        role = chance.choice(("learner", "trainer", "moderator", None))
        path = f"/v1/rooms/{room}/members/{user}"
        if role is None:
            reply = await site.ask("DELETE", path, node=node)
        else:
            reply = await site.ask("PUT", path, {"role": role}, node=node)
        if reply.status == 404:
            # The other node has not heard of the new room yet.
            return
        assert reply.status == 200, reply.body

    for start in range(0, 200, 10):
        await asyncio.gather(*(change(number) for number in range(start, start + 10)))
    async with asyncio.timeout(10.0):
        while True:
            one, two = [(await site.ask("GET", f"/v1/rooms/{room}", node=node)).body for node in (0, 1)]
            if one == two:
                break
            await asyncio.sleep(0.05)
    client = await nats_connect(site.server.url, name="test")
    members: dict[str, tuple[str, str]] = {}
    subscription = await client.jetstream().subscribe(f"ctl.room.{room}", ordered_consumer=True)
    last = (await client.jetstream().get_last_msg("CTRL", f"ctl.room.{room}")).seq
    while True:
        message = await subscription.next_msg(5.0)
        event = decode_control(message.data)
        if isinstance(event, RoomPut):
            members.update({each.user: (each.role, each.name) for each in event.members})
        elif isinstance(event, MemberPut) and event.role is None:
            members.pop(event.user, None)
        elif isinstance(event, MemberPut):
            members[event.user] = (event.role, event.name)
        if message.metadata.sequence.stream >= last:
            break
    await client.close()
    assert {each["user"]: (each["role"], each["name"]) for each in one["members"]} == members
