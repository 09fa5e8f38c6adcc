"""The HTTP interface of real nodes over a real nats-server, mongod and worker."""

import asyncio
import random
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol

import httpx
import msgspec
import pytest
import pytest_asyncio
from pymongo import MongoClient
from websockets.asyncio.client import ClientConnection, connect

from chatnode.app import Signals, run_node
from chatnode.broker.connection import connect as nats_connect
from chatnode.identity.tokens import TokenIssuer, issuer_for
from chatnode.local.children import free_port
from chatnode.local.servers import Mongod, NatsServer
from chatnode.protocol.control import MemberPut, RoomPut, decode_control
from chatnode.protocol.ids import direct_room
from chatnode.settings import Settings
from chatnode.worker.main import run_worker

pytestmark = pytest.mark.asyncio(loop_scope="module")

SERVICE: Final = "platform"
Person = Callable[[str], str]


def wall() -> int:
    return time.time_ns() // 1_000_000


class MongoAddress(Protocol):
    """The shared replica set of these tests."""

    uri: str


@dataclass
class Reply:
    status: int
    body: dict
    headers: httpx.Headers

    @property
    def code(self) -> str:
        return self.body["error"]["code"]


class Site:
    """A running cluster, and requests to its nodes."""

    def __init__(self, nodes: list[Settings], server: NatsServer, http: httpx.AsyncClient) -> None:
        self.nodes = nodes
        self.server = server
        self.http = http
        self.issuer: TokenIssuer = issuer_for(nodes[0], wall)

    def token(self, user: str, *, lifetime_s: int = 600) -> str:
        scopes = ("chat:admin",) if user == SERVICE else ()
        return self.issuer.issue(user, user.upper(), scopes=scopes, lifetime_s=lifetime_s)[0]

    async def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        by: str | None = SERVICE,
        node: int = 0,
        token: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> Reply:
        headers = dict(headers or {})
        if by is not None:
            headers["authorization"] = f"Bearer {token or self.token(by)}"
        content = body if isinstance(body, bytes) else None if body is None else msgspec.json.encode(body)
        url = f"http://127.0.0.1:{self.nodes[node].port}{path}"
        response = await self.http.request(method, url, content=content, headers=headers)
        return Reply(response.status_code, response.json() if response.content else {}, response.headers)

    async def probe(self, node: int) -> int:
        """Status of the node's readiness; 0 when nobody answers."""
        try:
            return (await self.http.get(f"http://127.0.0.1:{self.nodes[node].admin_port}/readyz")).status_code
        except httpx.TransportError:
            return 0

    async def course(self, room: str, **roles: str) -> None:
        members = [{"user": user, "role": role, "name": user.upper()} for user, role in roles.items()]
        reply = await self.ask("PUT", f"/v1/rooms/{room}", {"kind": "course", "title": room, "members": members})
        assert reply.status == 200, reply.body

    async def socket(self, user: str, *, node: int = 0) -> ClientConnection:
        url = f"ws://127.0.0.1:{self.nodes[node].port}/v1/ws"
        connection = await connect(url, subprotocols=["chat.v1"])  # type: ignore[list-item]
        await say(connection, type="connect", id="c", token=self.token(user))
        assert (await said(connection))["type"] == "welcome"
        return connection


async def say(connection: ClientConnection, **frame: object) -> None:
    await connection.send(msgspec.json.encode(frame).decode())


async def said(connection: ClientConnection) -> dict:
    return msgspec.json.decode(await asyncio.wait_for(connection.recv(), 5.0))


async def until_said(connection: ClientConnection, **fields: object) -> dict:
    async with asyncio.timeout(5.0):
        while True:
            frame = msgspec.json.decode(await connection.recv())
            if all(frame.get(name) == value for name, value in fields.items()):
                return frame


async def eventually(check: Callable[[], Awaitable[bool]], within: float = 10.0) -> None:
    async with asyncio.timeout(within):
        while not await check():
            await asyncio.sleep(0.05)


@asynccontextmanager
async def running(server: NatsServer, uri: str, **changes: object) -> AsyncIterator[Site]:
    """Two nodes and a worker, in this process and loop, over real servers."""
    secret = secrets.token_hex(32)

    def settings(name: str) -> Settings:
        return replace(
            Settings(
                nats_url=server.url,
                mongodb_uri=uri,
                mongodb_database=f"test-{secret[:12]}",
                node_id=name,
                port=free_port(),
                admin_port=free_port(),
                local_mode=True,
                jwt_secret=secret,
                stream_max_bytes=16 * 1024 * 1024,
                drain_settle_s=0.0,
                drain_window_s=0.0,
            ),
            **changes,
        )

    nodes = [settings("node-1"), settings("node-2")]
    stop_worker = asyncio.Event()
    signals = [Signals() for _ in nodes]
    async with httpx.AsyncClient(timeout=15.0) as http:
        worker = asyncio.create_task(run_worker(settings("worker"), stop_worker))
        running = [asyncio.create_task(run_node(each, signal)) for each, signal in zip(nodes, signals, strict=True)]
        site = Site(nodes, server, http)

        async def ready() -> bool:
            for task in (worker, *running):
                if task.done():
                    task.result()
            return all([await site.probe(number) == 200 for number in range(len(nodes))])

        try:
            await eventually(ready, within=30.0)
            yield site
        finally:
            for signal in signals:
                signal.received()
                signal.received()
            await asyncio.gather(*running)
            stop_worker.set()
            await worker
    with MongoClient[dict[str, object]](uri) as client:
        client.drop_database(f"test-{secret[:12]}")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(module_folder: Path, mongo: MongoAddress) -> AsyncIterator[Site]:
    """Shared by the tests of this file, which use rooms of their own and break nothing."""
    async with NatsServer(module_folder) as server, running(server, mongo.uri) as found:
        yield found


@pytest_asyncio.fixture(loop_scope="module")
async def own_site(tmp_path: Path, mongo: MongoAddress) -> AsyncIterator[Site]:
    """For a test that takes something away."""
    async with (
        NatsServer(tmp_path / "nats") as server,
        running(server, mongo.uri, suspend_after_s=1.5) as found,
    ):
        yield found


@pytest.fixture
def room() -> str:
    """A room of this test alone."""
    return f"room-{secrets.token_hex(6)}"


@pytest.fixture
def person() -> Callable[[str], str]:
    """Users of this test alone."""
    suffix = secrets.token_hex(4)
    return lambda name: f"{name}-{suffix}"


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


async def test_revocation_closes_every_connection_and_voids_tokens(site: Site, person: Person) -> None:
    amina = person("amina")
    token = site.token(amina)
    sockets = [await site.socket(amina, node=node) for node in (0, 1)]
    began = time.monotonic()
    reply = await site.ask("POST", f"/v1/users/{amina}/revoke", {"before": wall() + 5_000})
    assert reply.status == 200
    for socket in sockets:
        await socket.wait_closed()
        assert socket.close_code == 4501
    assert time.monotonic() - began < 2.0
    for node in (0, 1):
        refused = await site.ask("GET", "/v1/me", by=amina, token=token, node=node)
        assert (refused.status, refused.code) == (401, "unauthenticated")
        assert "revoked" in refused.body["error"]["message"]


async def test_tokens_of_after_the_revocation_are_good(site: Site, person: Person) -> None:
    amina = person("amina")
    assert (await site.ask("POST", f"/v1/users/{amina}/revoke", {"before": wall() - 60_000})).status == 200
    assert (await site.ask("GET", "/v1/me", by=amina)).status == 200


async def test_nobody_but_the_platform_revokes(site: Site, person: Person) -> None:
    reply = await site.ask("POST", f"/v1/users/{person('hugo')}/revoke", {}, by=person("amina"))
    assert (reply.status, reply.code) == (403, "forbidden")


async def test_a_revocation_of_the_future_is_refused(site: Site, person: Person) -> None:
    reply = await site.ask("POST", f"/v1/users/{person('hugo')}/revoke", {"before": wall() + 60_000})
    assert (reply.status, reply.body["error"]["field"]) == (400, "before")


async def test_me_tells_who_the_token_is_for(site: Site, person: Person) -> None:
    amina = person("amina")
    reply = await site.ask("GET", "/v1/me", by=amina)
    assert reply.status == 200
    assert (reply.body["user"], reply.body["name"]) == (amina, amina.upper())
    assert 0 < reply.body["expires_at"] - wall() <= 600_000


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


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("before=1", "before"),
        ("after=1-x", "after"),
        ("around=-1-1", "around"),
        ("before=1-99999999999999999", "before"),
        ("before=1-1&after=1-2", "before"),
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=ten", "limit"),
        ("page=2", "page"),
    ],
)
async def test_a_wrong_parameter_is_named(site: Site, room: str, query: str, field: str) -> None:
    await site.course(room)
    reply = await site.ask("GET", f"/v1/rooms/{room}/messages?{query}")
    assert (reply.status, reply.code, reply.body["error"]["field"]) == (400, "invalid", field)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", "kind"),
        (b"not json", None),
        (b"[]", None),
        (b'{"kind": "course"}', "title"),
        (b'{"kind": "direct", "title": "x"}', "kind"),
        (b'{"kind": "course", "title": ""}', "title"),
        (b'{"kind": "course", "title": "x", "owner": "me"}', "owner"),
        (b'{"kind": "course", "title": "x\\n"}', "title"),
        (b'{"kind": "course", "title": "x", "members": [{"user": "a b", "role": "learner"}]}', "members[0].user"),
        (b'{"kind": "course", "title": "x", "members": [{"user": "a", "role": "boss"}]}', "members[0].role"),
        (
            b'{"kind":"course","title":"x","members":[{"user":"a","role":"learner"},{"user":"a","role":"trainer"}]}',
            "members[1].user",
        ),
    ],
)
async def test_a_wrong_body_is_told_with_the_field(site: Site, room: str, body: bytes, field: str | None) -> None:
    reply = await site.ask("PUT", f"/v1/rooms/{room}", body)
    assert (reply.status, reply.code) == (400, "invalid")
    if field is not None:
        assert reply.body["error"]["field"].replace("[...]", "[0]") == field


async def test_a_body_above_the_limit_is_refused(site: Site, room: str) -> None:
    reply = await site.ask("PUT", f"/v1/rooms/{room}", b'{"kind": "course", "title": "' + b"x" * 70_000 + b'"}')
    assert (reply.status, reply.code) == (413, "too_large")


async def test_an_id_outside_the_pattern_is_refused(site: Site) -> None:
    reply = await site.ask("PUT", "/v1/rooms/a%20b", {"kind": "course", "title": "x"})
    assert (reply.status, reply.body["error"]["field"]) == (400, "room")


async def test_the_same_key_changes_once_and_another_change_under_it_is_refused(
    site: Site, room: str, person: Person
) -> None:
    await site.course(room)
    path, key = f"/v1/rooms/{room}/members/{person('amina')}", {"Idempotency-Key": room}
    first = await site.ask("PUT", path, {"role": "learner"}, headers=key)
    again = await site.ask("PUT", path, {"role": "learner"}, headers=key)
    assert first.body == again.body
    other = await site.ask("PUT", path, {"role": "trainer"}, headers=key)
    assert (other.status, other.code) == (409, "id_reused")
    wrong = await site.ask("PUT", path, {"role": "trainer"}, headers={"Idempotency-Key": "a b"})
    assert (wrong.status, wrong.body["error"]["field"]) == (400, "Idempotency-Key")


async def test_keys_of_two_callers_never_meet(site: Site, room: str, person: Person) -> None:
    await site.course(room, **{person("claire"): "trainer"})
    key = {"Idempotency-Key": room}
    one = await site.ask("PUT", f"/v1/rooms/{room}/members/{person('amina')}", {"role": "learner"}, headers=key)
    two = await site.ask(
        "PUT", f"/v1/rooms/{room}/members/{person('hugo')}", {"role": "learner"}, headers=key, by=person("claire")
    )
    assert (one.status, two.status) == (200, 200)
    assert one.body != two.body


@pytest.mark.parametrize("header", [None, "Basic YTpi", "Bearer", "Bearer x.y.z", "Bearer \u00e9"])
async def test_without_a_good_token_there_is_no_answer(site: Site, header: str | None) -> None:
    headers = {} if header is None else {"authorization": header.encode("latin-1")}
    url = f"http://127.0.0.1:{site.nodes[0].port}/v1/rooms"
    response = await site.http.get(url, headers=headers)
    assert response.status_code == 401
    assert response.json()["error"]["code"] == "unauthenticated"
    assert response.headers["www-authenticate"] == "Bearer"


async def test_an_expired_token_is_told_as_such(site: Site, person: Person) -> None:
    reply = await site.ask("GET", "/v1/me", by=person("amina"), token=site.token("amina", lifetime_s=-60))
    assert reply.status == 401
    assert "expired" in reply.body["error"]["message"]


async def test_a_token_in_the_address_is_no_token(site: Site) -> None:
    reply = await site.ask("GET", f"/v1/me?token={site.token('amina')}&access_token={site.token('amina')}", by=None)
    assert reply.status == 401


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/nothing", 404, "not_found"),
        ("GET", "/nothing", 404, "not_found"),
        ("PATCH", "/v1/rooms/x", 405, "invalid"),
        ("DELETE", "/v1/rooms/x", 405, "invalid"),
        ("POST", "/v1/me", 405, "invalid"),
        ("GET", "/v1/rooms/../../etc/passwd", 404, "not_found"),
    ],
)
async def test_what_is_not_there_is_told_in_the_same_form(
    site: Site, method: str, path: str, status: int, code: str
) -> None:
    reply = await site.ask(method, path)
    assert (reply.status, reply.code) == (status, code)
    assert reply.headers["content-type"] == "application/json"


async def test_a_user_who_asks_too_often_is_told_when_to_come_back(site: Site, person: Person) -> None:
    amina = person("amina")
    burst = site.nodes[0].command_burst
    replies = await asyncio.gather(*(site.ask("GET", "/v1/me", by=amina) for _ in range(burst + 40)))
    refused = [reply for reply in replies if reply.status != 200]
    assert refused
    assert {(reply.status, reply.code) for reply in refused} == {(429, "rate_limited")}
    assert all(int(reply.headers["retry-after"]) >= 1 for reply in refused)
    assert (await site.ask("GET", "/v1/me", by=person("hugo"))).status == 200


async def test_answers_are_never_cached(site: Site) -> None:
    reply = await site.ask("GET", "/v1/me")
    assert reply.headers["cache-control"] == "no-store"
    assert reply.headers["x-content-type-options"] == "nosniff"


async def test_the_demo_gives_tokens_to_its_people(site: Site) -> None:
    users = (await site.ask("GET", "/v1/demo/users", by=None)).body["users"]
    assert {"user": "amina", "name": "Amina Diallo", "role": "learner"} in users
    signed = await site.ask("POST", "/v1/demo/token", {"user": "amina"}, by=None)
    assert signed.status == 200
    assert 3_500_000 < signed.body["expires_at"] - wall() <= 3_600_000
    me = await site.ask("GET", "/v1/me", by="amina", token=signed.body["token"])
    assert (me.body["user"], me.body["name"]) == ("amina", "Amina Diallo")
    stranger = await site.ask("POST", "/v1/demo/token", {"user": "root"}, by=None)
    assert (stranger.status, stranger.code) == (404, "not_found")


async def test_the_demo_gives_no_rights_of_the_platform(site: Site, room: str) -> None:
    token = (await site.ask("POST", "/v1/demo/token", {"user": "claire"}, by=None)).body["token"]
    reply = await site.ask("PUT", f"/v1/rooms/{room}", {"kind": "course", "title": "x"}, by="claire", token=token)
    assert reply.status == 403


async def test_a_body_that_does_not_come_ends_in_an_answer(site: Site) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", site.nodes[0].port)
    head = f"PUT /v1/rooms/x HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {site.token(SERVICE)}\r\n"
    writer.write(f"{head}content-length: 100\r\n\r\n{{".encode())
    async with asyncio.timeout(8.0):
        status = await reader.readline()
    writer.close()
    assert b" 400 " in status or status == b""


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


async def test_while_mongodb_is_away_what_needs_it_is_retryable_and_comes_back(tmp_path: Path) -> None:
    async with (
        NatsServer(tmp_path / "nats") as server,
        Mongod(tmp_path / "mongod") as mongod,
        running(server, mongod.uri) as site,
    ):
        await site.course("python", amina="learner")
        await mongod.stop()
        reply = await site.ask("GET", "/v1/rooms", by="amina")
        assert (reply.status, reply.code, reply.body["error"]["retryable"]) == (503, "unavailable", True)
        assert int(reply.headers["retry-after"]) >= 1
        await mongod.start()

        async def back() -> bool:
            return (await site.ask("GET", "/v1/rooms", by="amina")).status == 200

        await eventually(back, within=30.0)


async def test_while_nats_is_away_everything_is_retryable_and_comes_back(own_site: Site) -> None:
    await own_site.course("python", amina="learner")
    await own_site.server.stop()
    reply = await own_site.ask("PUT", "/v1/rooms/python", {"kind": "course", "title": "Python"})
    assert (reply.status, reply.code, reply.body["error"]["retryable"]) == (503, "unavailable", True)
    assert int(reply.headers["retry-after"]) >= 1

    async def suspended() -> bool:
        return (await own_site.ask("GET", "/v1/rooms/python", by="amina")).status == 503

    await eventually(suspended, within=5.0)
    await own_site.server.start()

    async def back() -> bool:
        reply = await own_site.ask("PUT", "/v1/rooms/python", {"kind": "course", "title": "Python"})
        return reply.status == 200

    await eventually(back, within=20.0)
    assert (await own_site.ask("GET", "/v1/rooms/python", by="amina")).body["title"] == "Python"
