"""The codec: whatever comes in, a valid frame or a typed refusal comes out."""

import contextlib
import json
from typing import get_args

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chatnode.protocol import codec, limits
from chatnode.protocol.codec import decode_command, decode_server_frame, encode_frame, error_frame
from chatnode.protocol.errors import ErrorCode, ProtocolError
from chatnode.protocol.events import Event
from chatnode.protocol.frames import Command, Connect, Edit, Ping, Position, Send
from tests.unit import protocol_strategies as given_

AT = Position(1, 7)


def outcome(data: bytes | str) -> Command | ProtocolError:
    try:
        return decode_command(data)
    except ProtocolError as error:
        return error


def refusal(data: bytes | str) -> ProtocolError:
    with pytest.raises(ProtocolError) as caught:
        decode_command(data)
    return caught.value


# What comes in.

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
field_names = st.sampled_from(
    [
        "type",
        "id",
        "room",
        "text",
        "target",
        "again",
        "cursor",
        "cursors",
        "token",
        "limit",
        "at",
        "before",
        "emoji",
        "on",
    ]
)
frame_types = st.sampled_from([kind.__struct_config__.tag for kind in get_args(Command)])


@given(st.binary(max_size=300) | st.text(max_size=300))
@example(b"\xff")
@example(b"\xef\xbb\xbf{}")
@example("\ud800")
@example("[" * 60_000)
@example('{"id":' * 9_000)
@example('{"type":"ping","id":"a","x":' + "[" * 30_000)
@example(b'{"type":"connect","id":"a","token":NaN}')
@example(b'{"type":"history","id":"a","room":"r","limit":' + b"9" * 5_000 + b"}")
@example(b'{"type":"history","id":"a","room":"r","limit":1e999}')
def test_bytes_and_text_of_any_kind_make_a_command_or_a_protocol_error(data: bytes | str) -> None:
    with contextlib.suppress(ProtocolError):
        assert isinstance(decode_command(data), Command)


@given(st.dictionaries(field_names, json_values, max_size=6), frame_types)
def test_json_that_looks_like_a_frame_makes_a_command_or_a_protocol_error(fields: dict[str, object], kind: str) -> None:
    with contextlib.suppress(ProtocolError):
        assert isinstance(decode_command(json.dumps({"type": kind, **fields})), Command)


@given(given_.commands, st.data())
def test_a_mutated_frame_makes_a_command_or_a_protocol_error(command: Command, data: st.DataObject) -> None:
    octets = bytearray(encode_frame(command))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(octets) - 1))
        match data.draw(st.sampled_from(["set", "cut", "insert", "drop"])):
            case "set":
                octets[at] = data.draw(st.integers(0, 255))
            case "cut":
                octets = octets[: at + 1]
            case "insert":
                octets[at:at] = data.draw(st.binary(max_size=4))
            case _:
                octets[at : at + 1] = octets[at : at + 1] if len(octets) == 1 else b""
    with contextlib.suppress(ProtocolError):
        assert isinstance(decode_command(bytes(octets)), Command)


@given(given_.commands, st.data())
def test_the_id_comes_back_with_the_refusal_of_a_frame_that_is_wrong_somewhere_else(
    command: Command, data: st.DataObject
) -> None:
    fields = json.loads(encode_frame(command))
    name = data.draw(st.sampled_from(sorted(set(fields) - {"id"})))
    fields[name] = data.draw(st.sampled_from([None, 3.5, [[]], {"a": {}}, float("nan"), "\ud800", "x\x00"]))
    made = outcome(json.dumps(fields))
    if isinstance(made, ProtocolError):
        assert (made.command, made.code) == (command.id, ErrorCode.INVALID)


@given(given_.commands)
def test_the_id_is_read_out_of_a_frame_that_was_cut_off_behind_it(command: Command) -> None:
    octets = encode_frame(command)
    assert refusal(octets[:-1]).command == command.id


@pytest.mark.parametrize(
    "data",
    [
        b'{"type":"send","id":"a-1","room":"r","text":"\xff"}',
        b'{"type":"send","id":"a-1","room":"r","text":"\\ud800"}',
        '{"type":"send","id":"a-1","room":"r","text":"\ud800"}',
        b'{"type":"ping","id":"a-1","limit":NaN}',
        b'{"type":"ping","id":"a-1",}',
        b'{"type":"ping","id":"a-1","x":' + b"[" * 30_000,
        b'{"x":{"id":"no"},"y":["id",{"id":"no"}],"z":"\\"id\\":\\"no\\"","id":"a-1"',
        b' \n{ "cursors" : {"id":"1-1-0"} , "id" : "a-1" , "type" : "connect" ',
        b'{"type":"send","id":"a-1","room":"r","text":"' + b"x" * limits.FRAME_BYTES + b'"}',
    ],
)
def test_the_id_is_read_out_of_what_is_no_json(data: bytes | str) -> None:
    assert refusal(data).command == "a-1"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'["id","a"]',
        b'{"type":"ping"}',
        b'{"type":"ping","id":""}',
        b'{"type":"ping","id":"a b"}',
        b'{"type":"ping","id":"a\\n"}',
        b'{"type":"ping","id":"' + b"a" * 65 + b'"}',
        b'{"type":"ping","id":7}',
        b'{"type":"ping","id":{"id":"a"}',
        b'{"type":"ping","id":"a b",',
        b'{"type":"ping","id":"\xff"}',
        b'{"cursors":{"id":"1-1-0"},',
        b'{"x":"' + b"x" * 70_000 + b'","id":"a"}',
    ],
)
def test_no_id_is_made_up_where_there_is_none(data: bytes) -> None:
    assert refusal(data).command is None


@pytest.mark.parametrize(
    ("frame", "field"),
    [
        ({"type": "nope"}, "type"),
        ({}, "type"),
        ({"type": 1}, "type"),
        ({"type": "subscribe"}, "room"),
        ({"type": "subscribe", "room": "a b"}, "room"),
        ({"type": "subscribe", "room": "r", "cursor": "1-2"}, "cursor"),
        ({"type": "subscribe", "room": "r", "limit": 0}, "limit"),
        ({"type": "subscribe", "room": "r", "limit": 101}, "limit"),
        ({"type": "ping", "x": 1}, "x"),
        ({"type": "ping", "": 1}, ""),
        ({"type": "ping", "a`b` c": 1}, "a`b` c"),
        ({"type": "send", "room": "r", "text": ""}, "text"),
        ({"type": "send", "room": "r", "text": "x", "again": None}, "again"),
        ({"type": "send", "room": "r", "text": "x", "mentions": ["a", "b c"]}, "mentions[1]"),
        ({"type": "send", "room": "r", "text": "x", "mentions": ["a"] * 51}, "mentions"),
        ({"type": "send", "room": "r", "text": "x", "reply_to": {"epoch": 1}}, "reply_to.seq"),
        ({"type": "send", "room": "r", "text": "x", "reply_to": {"epoch": 1, "seq": 1, "x": 2}}, "reply_to.x"),
        ({"type": "send", "room": "r", "text": "x", "reply_to": {"epoch": 1, "seq": 2**53}}, "reply_to.seq"),
        ({"type": "send", "room": "r", "text": "x", "reply_to": {"epoch": -1, "seq": 1}}, "reply_to.epoch"),
        ({"type": "send", "room": "r", "text": "x", "traceparent": "00-0-0-0"}, "traceparent"),
        ({"type": "react", "room": "r", "target": {"epoch": 1, "seq": 1}, "emoji": "a b"}, "emoji"),
        ({"type": "connect", "cursors": {"a b": "1-1-0"}}, "cursors"),
        ({"type": "connect", "cursors": {"a": "x"}}, "cursors[...]"),
        (
            {"type": "history", "room": "r", "before": {"epoch": 1, "seq": 1}, "around": {"epoch": 1, "seq": 1}},
            "around",
        ),
    ],
)
def test_a_refusal_names_the_field(frame: dict[str, object], field: str) -> None:
    error = refusal(json.dumps({**frame, "id": "a"}))
    assert (error.code, error.field, error.command) == (ErrorCode.INVALID, field, "a")


@given(st.text(min_size=1, max_size=20).filter(lambda name: name not in {"id", "type"}))
def test_an_unknown_field_is_refused_by_name(name: str) -> None:
    error = refusal(json.dumps({"type": "ping", "id": "a", name: 1}, ensure_ascii=False))
    if not any("\ud800" <= letter <= "\udfff" for letter in name):
        assert error.field == name


@pytest.mark.parametrize("name", ["x" * 60_000, "é" * 20_000])
def test_a_refusal_repeats_little_of_what_was_sent(name: str) -> None:
    for frame in ({"type": "ping", "id": "a", name: 1}, {"type": name, "id": "a"}):
        error = refusal(json.dumps(frame, ensure_ascii=False))
        assert len(encode_frame(error_frame(error))) < 2_000


def test_a_frame_may_have_64_kib_of_utf8_and_no_more() -> None:
    padded = b'{"type":"ping","id":"a"}'.ljust(limits.FRAME_BYTES)
    assert decode_command(padded) == Ping(id="a")
    assert refusal(padded + b" ").code is ErrorCode.TOO_LARGE
    assert refusal('{"type":"send","id":"a","room":"r","text":"' + "é" * 40_000 + '"}').code is ErrorCode.TOO_LARGE


@pytest.mark.parametrize(
    "make",
    [lambda text: Send(id="a", room="r", text=text), lambda text: Edit(id="a", room="r", target=AT, text=text)],
    ids=["send", "edit"],
)
def test_a_text_may_have_16_kib_of_utf8_and_no_more(make: object) -> None:
    assert callable(make)
    fits = make("é" * (limits.TEXT_BYTES // 2))
    assert decode_command(encode_frame(fits)) == fits
    error = refusal(encode_frame(make("é" * (limits.TEXT_BYTES // 2) + "x")))
    assert (error.code, error.field, error.command) == (ErrorCode.TOO_LARGE, "text", "a")


def test_the_largest_connect_that_the_limits_allow_fits_into_a_frame() -> None:
    connect = Connect(
        id="i" * limits.ID_LENGTH,
        token="t" * limits.TOKEN_BYTES,
        cursors={f"{n:064d}": f"{2**31 - 1}-{2**53 - 1}-01234567" for n in range(limits.CURSORS)},
    )
    assert decode_command(encode_frame(connect)) == connect


# Round trips.


@given(given_.commands)
def test_every_command_survives_encoding(command: Command) -> None:
    octets = encode_frame(command)
    assert decode_command(octets) == command
    assert decode_command(octets.decode()) == command


@given(given_.replies | given_.events)
def test_every_reply_and_event_survives_encoding(frame: codec.ServerFrame) -> None:
    assert decode_server_frame(encode_frame(frame)) == frame


@given(given_.replies | given_.events)
def test_what_a_later_version_adds_to_a_server_frame_is_passed_over(frame: codec.ServerFrame) -> None:
    fields = json.loads(encode_frame(frame))
    assert decode_server_frame(json.dumps({**fields, "later": {"a": [1]}})) == frame


@pytest.mark.parametrize("data", [b'{"type":"later","id":1}', b'{"type":"event","kind":"later"}', b'{"type":"event"}'])
def test_server_frames_of_unknown_types_are_none(data: bytes) -> None:
    assert decode_server_frame(data) is None


@given(st.binary(max_size=100))
@example(b'{"type":"ack","id":"\xff"}')
@example(b'{"type":"ack","id":"a","x":' + b"[" * 30_000)
@example(b'{"type":"ack","id":"\\ud800"}')
@example(b'{"type":"ack"}')
def test_anything_else_from_a_server_is_a_decode_error(data: bytes) -> None:
    with contextlib.suppress(msgspec.DecodeError):
        decode_server_frame(data)


def test_the_codec_knows_every_event_and_reply_type() -> None:
    assert {event.__struct_config__.tag for event in get_args(Event)} == codec._EVENT_KINDS
    assert {reply.__struct_config__.tag for reply in get_args(codec.Reply)} == codec._REPLY_TYPES


def test_an_error_frame_says_what_the_refusal_says() -> None:
    error = ProtocolError(ErrorCode.RATE_LIMITED, "slowly", command="a", field="text", retry_after=0.5)
    assert json.loads(encode_frame(error_frame(error))) == {
        "type": "error",
        "id": "a",
        "code": "rate_limited",
        "message": "slowly",
        "retryable": True,
        "field": "text",
        "retry_after": 0.5,
    }
    bare = ProtocolError(ErrorCode.INVALID, "no")
    assert json.loads(encode_frame(error_frame(bare))) == {
        "type": "error",
        "code": "invalid",
        "message": "no",
        "retryable": False,
    }
    assert error_frame(bare, "b").id == "b"
    assert error_frame(error, "b").id == "a"
