"""Rooms of two people: who opens one with whom, and that it is one."""

import asyncio

import pytest

from chatnode.protocol.ids import direct_room
from tests.integration.rest.site import SERVICE, Person, Site, eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_learner_opens_one_room_with_a_trainer_however_often_and_whoever_asks(
    site: Site, room: str, person: Person
) -> None:
    claire, amina = person("claire"), person("amina")
    await site.course(room, **{claire: "trainer", amina: "learner"})
    first = await site.ask("POST", "/v1/direct", {"user": claire}, by=amina)
    assert first.status == 201
    assert first.body["room"] == direct_room(amina, claire)
    assert first.body["kind"] == "direct"
    assert {(each["user"], each["role"], each["name"]) for each in first.body["members"]} == {
        (amina, "learner", amina.upper()),
        (claire, "trainer", claire.upper()),
    }
    again = await site.ask("POST", "/v1/direct", {"user": claire}, by=amina)
    other = await site.ask("POST", "/v1/direct", {"user": amina}, by=claire)
    assert (again.status, other.status) == (200, 200)
    assert again.body == other.body == first.body
    lines = (await site.ask("GET", "/v1/rooms", by=claire)).body["rooms"]
    [line] = [line for line in lines if line["kind"] == "direct"]
    assert (line["peer"], line["peer_name"]) == (amina, amina.upper())


async def test_both_opening_it_at_once_on_two_nodes_make_one_room(site: Site, room: str, person: Person) -> None:
    claire, amina = person("claire"), person("amina")
    await site.course(room, **{claire: "trainer", amina: "learner"})

    async def known() -> bool:
        return (await site.ask("GET", f"/v1/rooms/{room}", by=claire, node=1)).status == 200

    await eventually(known)
    replies = await asyncio.gather(
        site.ask("POST", "/v1/direct", {"user": claire}, by=amina, node=0),
        site.ask("POST", "/v1/direct", {"user": amina}, by=claire, node=1),
    )
    assert {reply.status for reply in replies} <= {200, 201}
    assert replies[0].body == replies[1].body


@pytest.mark.parametrize(
    ("one", "other", "status"),
    [
        ("learner", "learner", 403),
        ("learner", "moderator", 201),
        ("moderator", "learner", 201),
        ("trainer", "learner", 201),
        ("trainer", "trainer", 201),
        ("trainer", "moderator", 201),
    ],
)
async def test_who_opens_a_room_with_whom(
    site: Site, room: str, person: Person, one: str, other: str, status: int
) -> None:
    await site.course(room, **{person("one"): one, person("other"): other})
    reply = await site.ask("POST", "/v1/direct", {"user": person("other")}, by=person("one"))
    assert reply.status == status


async def test_a_closed_course_gives_no_right_to_open_a_room(site: Site, room: str, person: Person) -> None:
    claire, amina = person("claire"), person("amina")
    await site.course(room, **{claire: "trainer", amina: "learner"})
    await site.ask("PUT", f"/v1/rooms/{room}", {"kind": "course", "title": "x", "closed": True})
    reply = await site.ask("POST", "/v1/direct", {"user": claire}, by=amina)
    assert (reply.status, reply.code) == (404, "not_found")


async def test_strangers_and_oneself_cannot_be_written_to(site: Site, person: Person) -> None:
    amina = person("amina")
    stranger = await site.ask("POST", "/v1/direct", {"user": person("nobody")}, by=amina)
    assert (stranger.status, stranger.code) == (404, "not_found")
    oneself = await site.ask("POST", "/v1/direct", {"user": amina}, by=amina)
    assert (oneself.status, oneself.body["error"]["field"]) == (400, "user")


async def test_a_direct_room_keeps_its_two_people(site: Site, room: str, person: Person) -> None:
    claire, amina = person("claire"), person("amina")
    await site.course(room, **{claire: "trainer", amina: "learner"})
    private = (await site.ask("POST", "/v1/direct", {"user": claire}, by=amina)).body["room"]
    for by in (amina, claire, SERVICE):
        added = await site.ask("PUT", f"/v1/rooms/{private}/members/{person('hugo')}", {"role": "learner"}, by=by)
        removed = await site.ask("DELETE", f"/v1/rooms/{private}/members/{amina}", by=by)
        assert (added.status, removed.status) == (403, 403)
    as_course = await site.ask("PUT", f"/v1/rooms/{private}", {"kind": "course", "title": "x"})
    assert as_course.status == 400
    assert (await site.ask("GET", f"/v1/rooms/{private}", by=person("hugo"))).status == 404
    assert (await site.ask("GET", f"/v1/rooms/{private}")).status == 200
