"""The Python client over real sockets, against a node that does as it is told."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any

import pytest
from websockets.asyncio.client import connect as websocket_connect
from websockets.exceptions import ConnectionClosedError

from chatclient import Client, Ended, Malformed, Refused, Timing, Unanswered
from chatnode.local.children import free_port
from chatnode.protocol.events import MessageEvent, SubscribedEvent, TypingEvent, UnsubscribedEvent
from chatnode.protocol.frames import Position
from tests.integration.model_site import Site, serving


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    made = Site()
    async with serving(made):
        yield made


def client(site: Site, **options: object) -> Client:
    return Client(site.url, "token", draw=lambda: 0.01, **options)  # type: ignore[arg-type]


def clients_tasks() -> list[asyncio.Task[object]]:
    return [task for task in asyncio.all_tasks() if "chatclient" in task.get_coro().cr_code.co_filename]  # type: ignore[union-attr]


async def take(events: AsyncIterator[object], kind: type, count: int = 1) -> list[object]:
    found: list[object] = []
    async with asyncio.timeout(5):
        while len(found) < count:
            event = await anext(events)
            if isinstance(event, kind):
                found.append(event)
    return found


async def test_everything_that_one_can_ask_for_has_its_answer(site: Site) -> None:
    async with client(site) as ana:
        assert ana.connected
        assert ana.welcome is not None
        assert ana.welcome.user == "ana"
        room = await ana.subscribe("r")
        assert (room.id, room.recovered, room.messages, room.more_before) == ("r", False, (), False)
        ack = await ana.send("r", "Bonjour", mentions=["bob"])
        assert (ack.room, ack.position) == ("r", Position(1, 1))
        await ana.edit("r", ack.position, "Bonsoir")
        await ana.react("r", ack.position, "+1")
        reply = await ana.send("r", "oui", reply_to=ack.position)
        await ana.delete("r", reply.position)
        await ana.read("r", ack.position)
        await ana.typing("r")
        page = await ana.history("r", limit=1)
        assert [message.deleted is not None for message in page.messages] == [True]
        around = await ana.history("r", around=ack.position, before=None, after=None)
        assert [message.text for message in around.messages] == ["Bonsoir", ""]
        there = await ana.presence("r")
        assert (there.online, there.count) == (("ana",), 1)
        assert await ana.refresh() == site.node.expires_at
        assert ana.cursor("r") == "1-5-0"
        await ana.unsubscribe("r")
        assert ana.cursor("r") is None


async def test_events_come_in_order_and_end_with_the_client(site: Site) -> None:
    async with client(site) as ana:
        await ana.subscribe("r")
        site.node.say_typing("r")
        await site.bob_says("one")
        await site.bob_says("two")
        events = ana.events()
        assert [type(await anext(events)) for _ in range(4)] == [
            SubscribedEvent,
            TypingEvent,
            MessageEvent,
            MessageEvent,
        ]
        waiting = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0)
        await ana.close()
        with pytest.raises(StopAsyncIteration):
            await waiting


async def test_closing_leaves_nothing_running(site: Site) -> None:
    async with client(site) as ana:
        await ana.subscribe("r")
        assert clients_tasks()
    assert not clients_tasks()
    await ana.close()
    with pytest.raises(Ended):
        await ana.send("r", "too late")


async def test_what_a_lost_connection_left_unanswered_is_sent_again(site: Site) -> None:
    async with client(site) as ana:
        await ana.subscribe("r")
        site.deaf = True
        sends = [asyncio.create_task(ana.send("r", f"{number}")) for number in range(5)]
        await asyncio.sleep(0.05)
        site.deaf = False
        site.sockets[0].transport.abort()
        acks = await asyncio.gather(*sends)
        assert [ack.seq for ack in acks] == [1, 2, 3, 4, 5]
        messages = await take(ana.events(), MessageEvent, 5)
        assert [getattr(message, "text", "") for message in messages] == ["0", "1", "2", "3", "4"]


async def test_nodes_are_tried_in_turn(site: Site) -> None:
    nobody = f"ws://127.0.0.1:{free_port()}/v1/ws"
    async with Client([nobody, site.url], "token", draw=lambda: 0.01) as ana:
        assert (await ana.send("r", "found")).seq == 1


async def test_a_node_that_comes_later_is_waited_for() -> None:
    site, port = Site(), free_port()
    site.url = f"ws://127.0.0.1:{port}/v1/ws"
    entering = asyncio.create_task(client(site).__aenter__())
    await asyncio.sleep(0.1)
    async with serving(site, port):
        ana = await entering
        assert ana.connected
        await ana.close()


async def test_a_connection_that_breaks_before_its_handshake_is_tried_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = [ConnectionClosedError(None, None)]

    def connect(url: str, **options: Any) -> Any:
        return _broken(broken.pop()) if broken else websocket_connect(url, **options)

    monkeypatch.setattr("chatclient.lines.websocket.connect", connect)
    async with Client(site.url, "token", timeout=10.0, draw=lambda: 0.0) as client:
        assert (await client.send("r", "hello")).position.seq
    assert not broken


async def test_a_line_that_fails_as_none_should_ends_the_client_and_says_why(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client(site.url, "token", timeout=30.0, draw=lambda: 0.0)
    async with client:
        await client.send("r", "hello")
        monkeypatch.setattr("chatclient.lines.websocket.connect", lambda *_, **__: _broken(LookupError("a bug")))
        client.cut()
        with pytest.raises(Ended, match="a bug"):
            async with asyncio.timeout(5.0):
                await client.send("r", "unheard")


async def _broken(error: Exception) -> None:
    raise error


async def test_a_handshake_refused_for_now_is_tried_again(site: Site) -> None:
    site.refuse = HTTPStatus.SERVICE_UNAVAILABLE
    entering = asyncio.create_task(client(site).__aenter__())
    await asyncio.sleep(0.05)
    assert not entering.done()
    site.refuse = None
    await (await entering).close()


@pytest.mark.parametrize("status", [HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN])
async def test_a_handshake_refused_for_good_ends_the_client(site: Site, status: HTTPStatus) -> None:
    site.refuse = status
    with pytest.raises(Ended, match=str(int(status))):
        async with client(site):
            pass
    assert not clients_tasks()


async def test_an_address_that_is_none_ends_the_client(site: Site) -> None:
    site.url = "http://127.0.0.1/"
    with pytest.raises(Ended, match="URI"):
        async with client(site):
            pass


async def test_nobody_there_is_told_after_the_timeout(site: Site) -> None:
    site.deaf = True
    with pytest.raises(Unanswered, match=r"connect within 0\.2 s"):
        async with client(site, timeout=0.2):
            pass
    assert not clients_tasks()


async def test_a_call_that_is_cancelled_while_it_connects_leaves_nothing(site: Site) -> None:
    site.deaf = True
    entering = asyncio.create_task(client(site).__aenter__())
    await asyncio.sleep(0.05)
    entering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await entering
    assert not clients_tasks()


async def test_a_call_without_answer_says_so_and_goes_on_trying(site: Site) -> None:
    async with client(site, timeout=1.0) as ana:
        site.node.refusals = 10_000
        with pytest.raises(Unanswered, match="outcome is unknown") as unanswered:
            await ana.send("r", "late")
        site.node.refusals = 0
        async with asyncio.timeout(5):
            while not site.node.stored:
                await asyncio.sleep(0.02)
        again = await ana.send("r", "late", command=unanswered.value.command, again=True)
        assert again.seq == 1
        assert site.node.copies() == 0


async def test_a_cancelled_call_takes_back_what_was_never_written(site: Site) -> None:
    async with client(site) as ana:
        site.answer = lambda frame: {
            "type": "error",
            "id": frame["id"],
            "code": "unavailable",
            "message": "away",
            "retryable": True,
            "retry_after": 0.2,
        }
        first = asyncio.create_task(ana.send("r", "first"))
        await asyncio.sleep(0.05)
        site.answer = lambda frame: None
        second = asyncio.create_task(ana.send("r", "second"))
        await asyncio.sleep(0)
        second.cancel()
        await first
        await ana.send("r", "third")
        assert [getattr(event, "text", "") for event in site.node.stored] == ["first", "third"]


async def test_one_command_is_not_sent_twice_at_once(site: Site) -> None:
    async with client(site) as ana:
        site.deaf = True
        sending = asyncio.create_task(ana.send("r", "x", command="c"))
        await asyncio.sleep(0)
        with pytest.raises(ValueError, match="under way"):
            await ana.send("r", "x", command="c")
        await ana.close()
        with pytest.raises(Ended):
            await sending


async def test_a_refusal_is_raised_with_its_words(site: Site) -> None:
    async with client(site) as ana:
        site.answer = lambda frame: {
            "type": "error",
            "id": frame["id"],
            "code": "forbidden",
            "message": "not here",
            "retryable": False,
            "field": "room",
        }
        with pytest.raises(Refused, match="forbidden: not here") as refused:
            await ana.send("r", "x")
        assert refused.value.field == "room"
        with pytest.raises(Refused):
            await ana.subscribe("r")
        assert isinstance(await anext(ana.events()), UnsubscribedEvent)


@pytest.mark.parametrize("call", ["send", "history", "refresh"])
async def test_an_ack_without_its_fields_is_malformed(site: Site, call: str) -> None:
    calls = {"send": lambda it: it.send("r", "x"), "history": lambda it: it.history("r"), "refresh": Client.refresh}
    async with client(site) as ana:
        site.answer = lambda frame: {"type": "ack", "id": frame["id"]}
        with pytest.raises(Malformed):
            await calls[call](ana)


@pytest.mark.parametrize("code", [4500, 4501, 4503])
async def test_a_final_close_code_ends_calls_and_events(site: Site, code: int) -> None:
    async with client(site) as ana:
        site.deaf = True
        sending = asyncio.create_task(ana.send("r", "x"))
        await asyncio.sleep(0.02)
        await site.sockets[0].close(code, "over")
        with pytest.raises(Ended, match=f"over .close code {code}"):
            await sending
        with pytest.raises(Ended):
            await anext(ana.events())


@pytest.mark.parametrize("code", [1001, 4001, 4003, 4004, 4005])
async def test_any_other_close_code_is_followed_by_a_new_connection(site: Site, code: int) -> None:
    async with client(site) as ana:
        await ana.subscribe("r")
        await site.sockets[0].close(code)
        await ana.send("r", "back")
        assert await take(ana.events(), MessageEvent)


async def test_the_token_is_got_anew_for_each_connection(site: Site) -> None:
    numbers = itertools.count(1)

    async def token() -> str:
        number = next(numbers)
        if number == 2:
            raise OSError("the identity provider is away")
        return f"token-{number}"

    async with Client(site.url, token, draw=lambda: 0.01) as ana:
        await site.sockets[0].close(4502)
        await ana.send("r", "back")
        assert site.tokens == ["token-1", "token-3"]


async def test_a_source_of_tokens_that_fails_for_good_ends_the_client(site: Site) -> None:
    async def token() -> str:
        raise ValueError("no such account")

    with pytest.raises(Ended, match="no such account"):
        async with Client(site.url, token):
            pass
    assert not clients_tasks()


async def test_a_source_of_tokens_that_fails_later_ends_the_client_too(site: Site) -> None:
    numbers = itertools.count()

    async def token() -> str:
        if next(numbers):
            raise ValueError("account closed")
        return "token"

    async with Client(site.url, token) as ana:
        with pytest.raises(Ended, match="account closed"):
            await ana.refresh()
        with pytest.raises(Ended):
            await anext(ana.events())


async def test_a_slow_taker_loses_nothing_and_holds_nothing_up(site: Site) -> None:
    site.node.recover_max = 1_000
    async with client(site, timing=Timing(events=8)) as ana:
        await ana.subscribe("r")
        for number in range(100):
            await site.bob_says(f"{number}")
        await ana.send("r", "acks are not held up")
        messages = await take(ana.events(), MessageEvent, 101)
        assert [getattr(message, "text", "") for message in messages][:-1] == [f"{number}" for number in range(100)]


async def test_a_node_that_answers_nothing_is_left(site: Site) -> None:
    async with client(site, timing=Timing(reply_s=0.5)) as ana:
        site.deaf = True
        sending = asyncio.create_task(ana.send("r", "x"))
        await asyncio.sleep(0.05)
        site.deaf = False
        assert (await sending).seq == 1
        assert len(site.tokens) == 2
