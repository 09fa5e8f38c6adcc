"""The parts of the fallbacks without a network: places in URLs and headers, bodies of commands, held frames."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatnode.protocol import limits
from chatnode.protocol.codec import encode_frame
from chatnode.protocol.cursors import Cursor
from chatnode.protocol.errors import CloseCode, ErrorCode, ProtocolError
from chatnode.protocol.events import MessageEvent, SubscribedEvent, TypingEvent, UnsubscribedEvent
from chatnode.transports.fallback.commands import COMMANDS_MAX, split_frames
from chatnode.transports.fallback.events import encode_events
from chatnode.transports.fallback.held import HeldChannel
from chatnode.transports.fallback.places import parse_places, write_places
from chatnode.transports.fallback.poll import next_places, only_news
from chatnode.transports.websocket.channel import SocketLimits
from chatnode.transports.websocket.frames import frame_text, payload_of
from chatnode.transports.websocket.host import SocketHost

ids = st.text("abcXYZ019_-", min_size=1, max_size=64)
cursors = st.builds(
    lambda epoch, seq, digest: str(Cursor(epoch, seq, digest)),
    st.integers(0, 2**31 - 1),
    st.integers(0, 2**53 - 1),
    st.sampled_from(["0", "0a1b2c3d"]),
)
places = st.dictionaries(ids, st.none() | cursors, max_size=8)


@given(places)
def test_places_read_back_from_last_event_id(given_places: dict[str, str | None]) -> None:
    assert parse_places((), write_places(given_places)) == given_places


@given(places, places)
def test_the_cursors_of_last_event_id_win(queried: dict[str, str | None], newer: dict[str, str | None]) -> None:
    texts = [room if cursor is None else f"{room}:{cursor}" for room, cursor in queried.items()]
    assert parse_places(texts, write_places(newer)) == {**queried, **newer}


@pytest.mark.parametrize("text", ["", " ", "a b", "a:", "a:b", "a:1-2-", "a:1-2-0:", ":1-2-0", "é", "a\n", "x" * 65])
def test_what_is_no_place_is_refused_by_its_name(text: str) -> None:
    with pytest.raises(ProtocolError) as refused:
        parse_places([text], None)
    assert (refused.value.code, refused.value.field) == (ErrorCode.INVALID, "room")


def test_more_rooms_than_a_connection_resumes_are_refused() -> None:
    most = [f"room-{number}" for number in range(limits.CURSORS)]
    assert len(parse_places(most, None)) == limits.CURSORS
    with pytest.raises(ProtocolError):
        parse_places(most, "one-more")


@given(st.binary())
def test_any_body_is_split_or_refused(body: bytes) -> None:
    try:
        frames = split_frames(body)
    except ProtocolError:
        return
    assert 1 <= len(frames) <= COMMANDS_MAX


def test_one_command_or_an_array_of_them() -> None:
    assert split_frames(b' {"type":"ping"}') == [b' {"type":"ping"}']
    assert split_frames(b' [{"a":1}, {"b":2}]') == [b'{"a":1}', b'{"b":2}']
    for body in (b"[]", b"[" + b",".join([b"{}"] * (COMMANDS_MAX + 1)) + b"]", b"[{}"):
        with pytest.raises(ProtocolError):
            split_frames(body)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 70_000])
def test_a_payload_comes_out_of_its_frame(size: int) -> None:
    assert payload_of(frame_text(b"x" * size)) == b"x" * size


# Held frames.


def message(room: str, seq: int, text: str = "x") -> bytes:
    event = MessageEvent(
        room=room,
        epoch=1,
        seq=seq,
        prev=seq - 1,
        cursor=f"1-{seq}-0a0a0a0a",
        ts=1,
        sender="ana",
        id=f"m{seq}",
        text=text,
    )
    return encode_frame(event)


async def held(rooms: dict[str, str | None], **changed: int) -> HeldChannel:
    host = SocketHost(asyncio.get_running_loop(), SocketLimits(**changed))
    return HeldChannel(host, rooms, authorization=None, peer="", transport=None)


async def test_places_are_as_of_what_was_taken() -> None:
    channel = await held({"a": "1-1-0a0a0a0a", "b": None, "c": None})
    channel.send(encode_frame(SubscribedEvent(room="a", cursor="1-1-0a0a0a0a", recovered=True)))
    channel.write(frame_text(message("a", 2)))
    channel.send(encode_frame(UnsubscribedEvent(room="b", code="not_found", message="x", retryable=False)))
    channel.send(encode_frame(UnsubscribedEvent(room="c", code="unavailable", message="x", retryable=True)))
    channel.send(encode_frame(TypingEvent(room="a", sender="bob", active=True, expires_ms=1)))
    assert channel.places == {"a": "1-1-0a0a0a0a", "b": None, "c": None}
    assert channel.untold == {"a", "b", "c"}
    assert len(channel.take(1)) == 1
    assert channel.untold == {"b", "c"}
    assert len(channel.take(10_000)) == 4
    assert channel.places == {"a": "1-2-0a0a0a0a", "c": None}
    assert channel.untold == set()
    assert channel.buffered == 0


async def test_what_exceeds_the_limits_is_not_taken_and_ends_it() -> None:
    for changed in ({"send_buffer_bytes": 1000}, {"send_buffer_frames": 5}):
        channel = await held({"a": None}, **changed)
        for seq in range(1, 100):
            channel.send(message("a", seq))
        taken = channel.take(100_000)
        assert 3 <= len(taken) < 10
        assert channel.places == {"a": f"1-{len(taken)}-0a0a0a0a"}
        assert channel.ending is not None
        assert channel.ending.code is CloseCode.SLOW_READER
        assert channel.ending.code.reconnect


async def test_one_large_frame_is_no_slow_reader() -> None:
    channel = await held({"a": None}, send_buffer_bytes=1000)
    channel.send(message("a", 1, "x" * 50_000))
    channel.send(message("a", 2))
    assert channel.ending is None
    assert len(channel.take(10**6)) == 2


async def test_whoever_waits_is_woken_by_frames_and_by_the_end() -> None:
    channel = await held({})
    waiting = asyncio.create_task(channel.changed())
    await asyncio.sleep(0)
    channel.send(message("a", 1))
    await asyncio.wait_for(waiting, 1.0)
    channel.take(1000)
    waiting = asyncio.create_task(channel.changed())
    await asyncio.sleep(0)
    channel.close(CloseCode.REVOKED, "revoked")
    await asyncio.wait_for(waiting, 1.0)
    channel.send(message("a", 2))
    assert channel.take(1000) == []


# Answers.


def test_the_id_of_events_comes_with_the_last_of_them() -> None:
    assert encode_events([b"1", b"2"], "a:1-1-0") == b"data: 1\n\nid: a:1-1-0\ndata: 2\n\n"
    assert encode_events([b"1"], "") == b"id: \ndata: 1\n\n"
    assert encode_events([b"1"], None) == b"data: 1\n\n"


async def test_a_poll_tells_of_a_recovered_room_only_with_its_news() -> None:
    channel = await held({"a": "1-1-0a0a0a0a", "b": "1-1-0a0a0a0a", "c": None})
    for room, recovered in (("a", True), ("b", True), ("c", False)):
        channel.send(encode_frame(SubscribedEvent(room=room, cursor="1-1-0a0a0a0a", recovered=recovered)))
    channel.send(message("b", 2))
    news = [(each.outline.kind, each.outline.room) for each in only_news(channel.take(100_000))]
    assert news == [("subscribed", "b"), ("subscribed", "c"), ("message", "b")]


async def test_rooms_whose_turn_did_not_come_stand_first_in_the_next_poll() -> None:
    channel = await held({"a": "1-1-0a0a0a0a", "b": None, "c": "1-3-0a0a0a0a"})
    channel.send(encode_frame(SubscribedEvent(room="a", cursor="1-1-0a0a0a0a", recovered=True)))
    channel.take(100_000)
    assert list(next_places(channel).items()) == [("b", None), ("c", "1-3-0a0a0a0a"), ("a", "1-1-0a0a0a0a")]
