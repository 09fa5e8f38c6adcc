"""The codec against RFC 6455, and against the `websockets` library as a second implementation."""

import codecs
import os
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.protocol import SERVER, Protocol, State

from chatnode.transports.websocket import frames
from chatnode.transports.websocket.frames import Binary, Close, FrameParser, Ping, Pong, Text, Violation

LIMIT = 1000
KEY = b"\x11\x22\x33\x44"


def parse(data: bytes, limit: int = LIMIT) -> list[frames.Incoming]:
    return FrameParser(limit).feed(data)


def client(opcode: int, payload: bytes = b"", *, fin: bool = True, key: bytes = KEY) -> bytes:
    """A masked frame, built by hand."""
    head = bytes([(0x80 if fin else 0) | opcode])
    size = len(payload)
    if size < 126:
        head += bytes([0x80 | size])
    elif size < 65536:
        head += bytes([0x80 | 126]) + size.to_bytes(2, "big")
    else:
        head += bytes([0x80 | 127]) + size.to_bytes(8, "big")
    return head + key + bytes(byte ^ key[i % 4] for i, byte in enumerate(payload))


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in pairwise(places)]


payloads = st.one_of(st.binary(max_size=300), st.text(max_size=100).map(str.encode))
keys = st.binary(min_size=4, max_size=4)
close_codes = st.sampled_from([1000, 1001, 1003, 1007, 1014, 3000, 4999])


@st.composite
def conversations(draw: st.DrawFn) -> list[bytes]:
    """Frames that a client may send, in an order in which it may send them, fragmented or not, maybe with an end."""
    sent: list[bytes] = []

    def control() -> None:
        if draw(st.booleans()):
            sent.append(client(draw(st.sampled_from([9, 10])), draw(st.binary(max_size=125)), key=draw(keys)))

    for _ in range(draw(st.integers(0, 5))):
        control()
        binary = draw(st.booleans())
        payload = draw(st.binary(max_size=300)) if binary else draw(st.text(max_size=100)).encode()
        pieces = split(payload, draw(st.lists(st.integers(0, 300), max_size=3))) or [b""]
        for number, piece in enumerate(pieces):
            if number:
                control()
            opcode = 0 if number else 2 if binary else 1
            sent.append(client(opcode, piece, fin=number == len(pieces) - 1, key=draw(keys)))
    if draw(st.booleans()):
        sent.append(client(8, draw(close_codes).to_bytes(2, "big") + draw(st.text(max_size=20)).encode()))
    return sent


broken = st.binary(min_size=2, max_size=40)
"""Mostly frames that break some rule."""
almost_frames = st.builds(
    lambda first, masked, payload, key: (
        client(0, payload, key=key)[:0]
        + bytes([first, (0x80 if masked else 0) | min(len(payload), 125)])
        + key
        + payload
    ),
    st.integers(0, 255),
    st.integers(0, 20).map(bool),
    payloads.map(lambda payload: payload[:125]),
    keys,
)


def reference(data: bytes, limit: int = LIMIT) -> tuple[list[frames.Incoming], int | None]:
    """What `websockets` makes of the same bytes: its messages, and the close code it fails with.

    It leaves the UTF-8 of messages to its callers: here it is checked fragment by fragment.
    """
    protocol = Protocol(SERVER, state=State.OPEN, max_size=limit)
    protocol.receive_data(data)
    incoming: list[frames.Incoming] = []
    parts: list[bytes] = []
    decoder: codecs.IncrementalDecoder | None = None
    for frame in protocol.events_received():
        assert isinstance(frame, Frame)
        payload = bytes(frame.data)
        match frame.opcode:
            case Opcode.PING:
                incoming.append(Ping(payload))
            case Opcode.PONG:
                incoming.append(Pong(payload))
            case Opcode.CLOSE:
                code = int.from_bytes(payload[:2], "big") if payload else 1005
                incoming.append(Close(code, payload[2:].decode()))
            case _:
                if frame.opcode is not Opcode.CONT:
                    decoder = codecs.getincrementaldecoder("utf-8")() if frame.opcode is Opcode.TEXT else None
                    parts = []
                parts.append(payload)
                try:
                    if decoder is not None:
                        decoder.decode(payload, final=frame.fin)
                except UnicodeDecodeError:
                    return incoming, 1007
                if frame.fin:
                    whole = b"".join(parts)
                    incoming.append(Binary(whole) if decoder is None else Text(whole))
    failed = protocol.close_sent.code if protocol.parser_exc is not None and protocol.close_sent else None
    return incoming, failed


@given(conversations())
def test_a_correct_client_is_understood_as_by_the_reference(sent: list[bytes]) -> None:
    stream = b"".join(sent)
    expected, failed = reference(stream, 10_000)
    assert failed is None
    assert parse(stream, 10_000) == expected


@given(conversations(), st.lists(st.integers(0, 4000), max_size=20))
def test_any_split_of_the_bytes_gives_the_same_messages(sent: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(sent)
    parser = FrameParser(LIMIT)
    assert [item for piece in split(stream, cuts) for item in parser.feed(piece)] == parse(stream)


@given(conversations())
def test_one_byte_at_a_time_gives_the_same_messages(sent: list[bytes]) -> None:
    stream = b"".join(sent)
    parser = FrameParser(LIMIT)
    assert [item for i in range(len(stream)) for item in parser.feed(stream[i : i + 1])] == parse(stream)


@given(st.lists(st.one_of(almost_frames, broken, payloads.map(lambda p: client(1, p))), max_size=8).map(b"".join))
def test_whatever_is_sent_is_judged_as_by_the_reference(stream: bytes) -> None:
    # Zeros complete a frame that is under way, and break the rules after that: the reference judges only whole frames.
    stream += bytes(LIMIT + 14)
    ours = parse(stream)
    broke = ours.pop() if isinstance(ours[-1], Violation) else None
    expected, failed = reference(stream)
    assert ours == expected
    code = broke.code if isinstance(broke, Violation) else None
    # A frame that breaks two rules may be refused for either: forbidden and too long, a close with wrong code and text.
    assert code == failed or {code, failed} in ({frames.PROTOCOL_ERROR, frames.TOO_BIG}, {frames.PROTOCOL_ERROR, 1007})


@given(st.lists(st.binary(max_size=200), max_size=10))
def test_garbage_in_any_pieces_never_raises_and_nothing_follows_a_violation(pieces: list[bytes]) -> None:
    parser = FrameParser(LIMIT)
    incoming = [item for piece in pieces for item in parser.feed(piece)]
    ends = [i for i, item in enumerate(incoming) if isinstance(item, Violation | Close)]
    assert ends in ([], [len(incoming) - 1])
    assert parser.ended == bool(ends)


@given(st.binary(max_size=70_000), keys)
def test_unmasking_is_the_xor_of_the_rfc(payload: bytes, key: bytes) -> None:
    assert frames.unmask(payload, key) == bytes(byte ^ key[i % 4] for i, byte in enumerate(payload))


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 100_000])
def test_server_frames_are_those_of_the_reference(size: int) -> None:
    payload = b"x" * size
    assert frames.frame_text(payload) == Frame(Opcode.TEXT, payload).serialize(mask=False)
    assert frames.frame_binary(payload) == Frame(Opcode.BINARY, payload).serialize(mask=False)
    assert parse(client(1, payload), 100_000) == [Text(payload)]


@given(st.binary(max_size=125))
def test_control_frames_are_those_of_the_reference(payload: bytes) -> None:
    assert frames.frame_ping(payload) == Frame(Opcode.PING, payload).serialize(mask=False)
    assert frames.frame_pong(payload) == Frame(Opcode.PONG, payload).serialize(mask=False)


def test_a_control_frame_that_is_too_long_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="126 bytes"):
        frames.frame_ping(b"x" * 126)


@given(close_codes, st.text(max_size=200))
def test_a_close_reason_is_cut_at_a_character(code: int, reason: str) -> None:
    framed = frames.frame_close(code, reason)
    assert len(framed) <= 2 + 125
    assert framed[2:4] == code.to_bytes(2, "big")
    assert reason.startswith(framed[4:].decode())


def test_a_close_without_a_code_is_empty() -> None:
    assert frames.frame_close() == b"\x88\x00"
    assert parse(client(8)) == [Close(frames.NO_CODE, "")]


@pytest.mark.parametrize(
    ("stream", "code"),
    [
        pytest.param(bytes([0x81, 0x01]) + b"x", 1002, id="unmasked"),
        pytest.param(client(0x41), 1002, id="RSV1"),
        pytest.param(client(0x21), 1002, id="RSV2"),
        pytest.param(client(0x11), 1002, id="RSV3"),
        pytest.param(client(3), 1002, id="unknown data opcode"),
        pytest.param(client(11), 1002, id="unknown control opcode"),
        pytest.param(client(9, fin=False), 1002, id="fragmented ping"),
        pytest.param(client(9, b"x" * 126), 1002, id="long ping"),
        pytest.param(client(0), 1002, id="continuation of nothing"),
        pytest.param(client(1, fin=False) + client(1), 1002, id="text within a fragmented text"),
        pytest.param(client(2, fin=False) + client(2), 1002, id="binary within a fragmented binary"),
        pytest.param(bytes([0x82, 0xFF, 0x80]) + bytes(7) + KEY, 1002, id="negative length"),
        pytest.param(bytes([0x82, 0xFF, 0x7F]) + b"\xff" * 7 + KEY, 1009, id="largest length"),
        pytest.param(client(1, b"x" * (LIMIT + 1)), 1009, id="too long"),
        pytest.param(client(1, b"x" * LIMIT, fin=False) + client(0, b"x"), 1009, id="too long over fragments"),
        pytest.param(client(1, b"\xff"), 1007, id="not UTF-8"),
        pytest.param(client(1, "é".encode()[:1]), 1007, id="half a character"),
        pytest.param(client(1, b"\xed\xa0\x80"), 1007, id="surrogate"),
        pytest.param(client(1, b"\xff", fin=False), 1007, id="not UTF-8 in the first of many fragments"),
        pytest.param(client(8, b"x"), 1002, id="close of one byte"),
        pytest.param(client(8, (1005).to_bytes(2, "big")), 1002, id="close code that is never sent"),
        pytest.param(client(8, (1000).to_bytes(2, "big") + b"\xff"), 1007, id="close reason not UTF-8"),
    ],
)
def test_what_the_rfc_forbids_is_a_violation_with_its_code(stream: bytes, code: int) -> None:
    [violation] = parse(stream)
    assert isinstance(violation, Violation)
    assert violation.code == code
    assert violation.reason


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535])
def test_close_codes_that_nobody_may_send_are_refused(code: int) -> None:
    assert not frames.is_close_code(code)


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1011, 1014, 3000, 3999, 4000, 4999])
def test_close_codes_that_are_registered_or_private_are_fine(code: int) -> None:
    assert parse(client(8, code.to_bytes(2, "big"))) == [Close(code, "")]


def test_a_character_may_lie_across_fragments_and_a_ping_between_them() -> None:
    e = "é".encode()
    stream = client(1, e[:1], fin=False) + client(9, b"now") + client(0, e[1:])
    assert parse(stream) == [Ping(b"now"), Text(e)]


def test_a_ping_fits_between_the_fragments_of_the_largest_message() -> None:
    stream = client(1, b"x" * LIMIT, fin=False) + client(9, b"p" * 125) + client(0)
    assert parse(stream) == [Ping(b"p" * 125), Text(b"x" * LIMIT)]


def test_a_length_too_large_is_refused_before_its_bytes_come() -> None:
    [violation] = parse(client(1, b"x" * (LIMIT + 1))[:8])
    assert isinstance(violation, Violation)
    assert violation.code == frames.TOO_BIG


def test_a_frame_in_thousands_of_pieces_costs_no_more_than_its_size() -> None:
    payload = os.urandom(60_000)
    stream = client(2, payload)
    parser = FrameParser(65536)
    incoming = [item for i in range(len(stream)) for item in parser.feed(stream[i : i + 1])]
    assert incoming == [Binary(payload)]
