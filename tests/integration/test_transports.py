"""One contract for all transports: socket, event stream with POST, polls with POST, on two nodes."""

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping

import pytest
import pytest_asyncio

from chatnode.local.cluster import LocalCluster
from tests.integration.lines import TRANSPORTS, Line, Refused, line
from tests.integration.promises import make_room, rest

pytestmark = [pytest.mark.asyncio(loop_scope="module")]

SETTINGS = {"CHAT_ROOM_LINGER_S": "1", "CHAT_DRAIN_WINDOW_S": "1", "CHAT_COMMAND_BURST": "60"}
Open = Callable[..., Line]


@pytest_asyncio.fixture(loop_scope="module")
async def room(cluster: LocalCluster) -> str:
    return await make_room(cluster, ["ana", "bob"], trainers=["tom"])


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def opened(cluster: LocalCluster, transport: str) -> Open:
    def made(user: str, rooms: Mapping[str, str | None], *, node: int = 0, token: str | None = None) -> Line:
        return line(transport, cluster.node_urls[node], token or cluster.token(user), rooms)

    return made


async def test_the_state_of_every_room_comes_before_its_events(opened: Open, room: str) -> None:
    async with opened("bob", {room: None}, node=1) as bob:
        await bob.send(room, "before")
        async with opened("ana", {room: None, "nowhere": "1-1-0"}) as ana:
            told = await ana.subscribed(room)
            assert told["recovered"] is False
            assert [message["text"] for message in told["messages"] if "notice" not in message] == ["before"]
            refused = await ana.until(lambda frame: frame.get("kind") == "unsubscribed")
            assert (refused["room"], refused["code"]) == ("nowhere", "not_found")
            await bob.send(room, "after")
            assert await ana.texts(room, "after") == ["after"]
            assert ana.frames[0]["type"] == "welcome"
            assert ana.frames[0]["user"] == "ana"


async def test_events_come_in_order_and_once(opened: Open, room: str) -> None:
    async with opened("ana", {room: None}) as ana, opened("bob", {room: None}, node=1) as bob:
        await ana.subscribed(room)
        await bob.subscribed(room)
        said = [f"message {number}" for number in range(20)]
        commands = [{"type": "send", "id": secrets.token_hex(8), "room": room, "text": text} for text in said]
        replies = await bob.ask_all(*commands)
        assert [reply["type"] for reply in replies] == ["ack"] * 20
        assert [reply["id"] for reply in replies] == [command["id"] for command in commands]
        assert sorted(reply["seq"] for reply in replies) == [reply["seq"] for reply in replies]
        assert await ana.texts(room, said[-1]) == said
        assert await bob.texts(room, said[-1]) == said


async def test_every_kind_of_command_has_its_effect(opened: Open, room: str) -> None:
    async with opened("ana", {room: None}) as ana, opened("tom", {room: None}, node=1) as tom:
        await tom.subscribed(room)
        ack = await ana.send(room, "one")
        at = {"epoch": ack["epoch"], "seq": ack["seq"]}
        for command in (
            {"type": "edit", "target": at, "text": "two"},
            {"type": "react", "target": at, "emoji": "+1"},
            {"type": "delete", "target": at},
        ):
            assert (await ana.ask(room=room, **command))["type"] == "ack"
        for kind in ("message", "edit", "reaction", "delete"):
            await tom.until(lambda frame, kind=kind: frame.get("kind") == kind)
        # Passing events are missed between two polls, so they are made until one is seen.
        for kind, command in (("typing", {"type": "typing"}), ("read", {"type": "read", "at": at})):
            async with asyncio.timeout(20.0):
                while not any(frame.get("kind") == kind for frame in tom.frames):
                    assert (await ana.ask(room=room, **command))["type"] == "ack"
                    await asyncio.sleep(0.2)
        page = await ana.ask(type="history", room=room, limit=1)
        assert page["messages"][0]["deleted"]["by"] == "ana"
        assert set((await ana.ask(type="presence", room=room))["online"]) >= {"ana", "tom"}
        assert abs((await ana.ask(type="ping"))["ts"] - time.time() * 1000) < 10_000


async def test_a_cursor_is_good_on_the_other_node(opened: Open, room: str) -> None:
    async with opened("bob", {room: None}, node=1) as bob:
        async with opened("ana", {room: None}) as ana:
            await ana.subscribed(room)
            await bob.send(room, "seen")
            await ana.texts(room, "seen")
        missed = [f"missed {number}" for number in range(15)]
        for text in missed:
            await bob.send(room, text)
        async with opened("ana", ana.cursors, node=1) as back:
            assert await back.texts(room, missed[-1]) == missed
            assert (await back.subscribed(room))["recovered"] is True
            await bob.send(room, "live")
            assert await back.texts(room, "live") == [*missed, "live"]


@pytest.mark.parametrize("cursor", ["0-1-0", "1-900000000-0a0a0a0a", "7-1-0"])
async def test_a_cursor_that_means_nothing_is_told_to_reload(opened: Open, room: str, cursor: str) -> None:
    async with opened("bob", {}, node=1) as bob:
        await bob.send(room, "before")
    async with opened("ana", {room: cursor}) as ana:
        told = await ana.subscribed(room)
        assert told["recovered"] is False
        assert "before" in [message.get("text") for message in told["messages"]]
        assert ana.cursors[room] != cursor


async def test_a_removal_ends_the_room_within_two_seconds(opened: Open, room: str, cluster: LocalCluster) -> None:
    async with opened("ana", {room: None}) as ana, opened("bob", {room: None}, node=1) as bob:
        await ana.subscribed(room)
        began = time.monotonic()
        await rest(cluster, "DELETE", f"/v1/rooms/{room}/members/ana")
        told = await ana.until(lambda frame: frame.get("kind") == "unsubscribed")
        assert time.monotonic() - began < 2.0
        assert (told["code"], told["retryable"]) == ("not_found", False)
        assert (await ana.send(room, "still here?"))["code"] == "not_found"
        await bob.send(room, "behind her back")
        await bob.texts(room, "behind her back")
        with pytest.raises(TimeoutError):
            await ana.texts(room, "behind her back", within=0.5)


async def test_a_revocation_ends_the_line_within_two_seconds(opened: Open, cluster: LocalCluster) -> None:
    user, own = f"user-{secrets.token_hex(4)}", f"room-{secrets.token_hex(4)}"
    members = [{"user": user, "role": "learner"}]
    await rest(cluster, "PUT", f"/v1/rooms/{own}", {"kind": "course", "title": "Talk", "members": members})
    token = cluster.token(user)
    # Tokens tell their time in whole seconds.
    await asyncio.sleep(1.1)
    async with opened(user, {own: None}, token=token) as ana:
        await ana.subscribed(own)
        began = time.monotonic()
        await rest(cluster, "POST", f"/v1/users/{user}/revoke", {})
        assert await ana.until_lost(within=2.0) == "unauthenticated"
        assert time.monotonic() - began < 2.0
    with pytest.raises(Refused, match="unauthenticated"):
        async with opened(user, {own: None}, token=token, node=1):
            pass


async def test_the_end_of_the_token_ends_the_line(opened: Open, room: str, cluster: LocalCluster) -> None:
    async with opened("ana", {room: None}, token=cluster.token("ana", lifetime_s=2)) as ana:
        assert await ana.until_lost(within=5.0) == "unauthenticated"


@pytest.mark.parametrize("token", ["", "nonsense", "a.b.c"])
async def test_a_wrong_token_is_refused(transport: str, cluster: LocalCluster, room: str, token: str) -> None:
    wrong = token or cluster.token("ana")[:-6] + "AAAAAA"
    with pytest.raises(Refused, match="unauthenticated") as refused:
        async with line(transport, cluster.node_urls[0], wrong, {room: None}):
            pass
    assert refused.value.retryable is False


async def test_sizes_are_refused(opened: Open, room: str, transport: str) -> None:
    async with opened("ana", {room: None}) as ana:
        assert (await ana.send(room, "é" * 8192))["type"] == "ack"
        reply = await ana.send(room, "é" * 8193)
        assert (reply["code"], reply["field"]) == ("too_large", "text")
        if transport == "websocket":
            with pytest.raises(asyncio.CancelledError):
                await ana.send(room, "x" * 65_536)
            assert await ana.until_lost(5.0) == "broken"
        else:
            reply = await ana.send(room, "x" * 65_536)
            assert (reply["type"], reply["code"]) == ("error", "too_large")


async def test_whoever_asks_too_often_is_told_when_to_come_again(opened: Open, cluster: LocalCluster) -> None:
    user = f"user-{secrets.token_hex(4)}"
    async with opened(user, {}) as hasty:
        replies = []
        for _ in range(4):
            replies += await hasty.ask_all(*({"type": "ping", "id": secrets.token_hex(8)} for _ in range(30)))
        refused = [reply for reply in replies if reply["type"] == "error"]
        assert {reply["code"] for reply in refused} == {"rate_limited"}
        assert all(0 < reply["retry_after"] < 3 for reply in refused)
        # Requests that begin a line or a poll count as well.
        assert 55 <= len(replies) - len(refused) < 110


async def test_after_a_retryable_failure_nothing_overtakes(opened: Open, room: str, cluster: LocalCluster) -> None:
    """The failure here is the rate: what comes behind it in the room is out of order, also when the rate allows it."""
    members = [{"user": "kim", "role": "learner"}]
    await rest(cluster, "PUT", f"/v1/rooms/{room}", {"kind": "course", "title": "Talk", "members": members})
    async with opened("kim", {}) as kim:
        codes: list[str] = []
        while "rate_limited" not in codes:
            commands = [
                {"type": "send", "id": secrets.token_hex(8), "room": room, "text": f"{number}"} for number in range(30)
            ]
            replies = await kim.ask_all(*commands)
            codes = [reply.get("code", "") for reply in replies]
        first = next(place for place, code in enumerate(codes) if code)
        assert set(codes[first:]) <= {"rate_limited", "out_of_order"}


async def test_a_node_that_dies_costs_nothing_on_the_other(opened: Open, room: str, cluster: LocalCluster) -> None:
    async with opened("bob", {room: None}, node=1) as bob, opened("ana", {room: None}, node=0) as ana:
        await ana.subscribed(room)
        await bob.subscribed(room)
        await bob.send(room, "seen")
        await ana.texts(room, "seen")
        await cluster.kill_node(0)
        try:
            await ana.until_lost(within=10.0)
            for number in range(5):
                assert (await bob.send(room, f"missed {number}"))["type"] == "ack"
            async with opened("ana", ana.cursors, node=1) as back:
                assert await back.texts(room, "missed 4") == [f"missed {number}" for number in range(5)]
        finally:
            await cluster.start_node(0)
