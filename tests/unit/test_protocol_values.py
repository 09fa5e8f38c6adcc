"""Cursors, ids, digests, envelopes, control events, sealing and the error table."""

import contextlib
import json
import re

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from chatnode.protocol import control, errors
from chatnode.protocol.control import (
    EpochRaised,
    Heartbeat,
    Member,
    MemberPut,
    Revoked,
    RoomPut,
    control_subject,
    decode_control,
    encode_control,
)
from chatnode.protocol.cursors import CURSOR_PATTERN, Cursor, CursorError, parse_cursor
from chatnode.protocol.envelope import Envelope, Sealed, command_digest, command_kind, decode_envelope, encode_envelope
from chatnode.protocol.errors import ERRORS, CloseCode, ErrorCode, ProtocolError
from chatnode.protocol.frames import Delete, Edit, MemberChange, Message, Position, React, Send, StoredCommand
from chatnode.protocol.ids import ID_PATTERN, direct_room, event_hash, message_id
from chatnode.protocol.sealing import PlainSealer
from tests.unit import protocol_strategies as given_

AT = Position(1, 7)

# Cursors.


@given(given_.cursors)
def test_a_cursor_survives_as_text(cursor: Cursor) -> None:
    assert parse_cursor(str(cursor)) == cursor


@given(st.text(max_size=40) | st.from_regex(r"[0-9]{1,20}-[0-9]{1,20}-[0-9a-f]{1,9}\n?", fullmatch=True))
@example("1-1-0\n")
@example("٣-1-0")
@example("01-1-0")
@example("1-01-0")
@example(f"{2**31}-1-0")
@example(f"1-{2**53}-0")
@example("1-18446744073709551616-0")
def test_only_what_a_cursor_writes_is_a_cursor(text: str) -> None:
    with contextlib.suppress(CursorError):
        assert str(parse_cursor(text)) == text


@given(given_.cursor_texts)
def test_a_cursor_passes_the_pattern_of_frames(text: str) -> None:
    assert re.search(CURSOR_PATTERN, text)
    assert len(text) <= 40


def test_a_refused_cursor_is_quoted_in_short() -> None:
    with pytest.raises(CursorError, match=r"not a cursor: 'x{60}'; subscribe without one$"):
        parse_cursor("x" * 100_000)


@given(given_.cursors, given_.cursors)
def test_cursors_of_one_room_compare_as_epoch_and_seq(one: Cursor, other: Cursor) -> None:
    if (one.epoch, one.seq) != (other.epoch, other.seq):
        assert (one < other) == ((one.epoch, one.seq) < (other.epoch, other.seq))


# Ids.


@given(given_.ids, given_.ids)
def test_a_direct_room_is_the_same_from_both_sides_and_an_id(one: str, other: str) -> None:
    if one == other:
        with pytest.raises(ValueError, match="two people"):
            direct_room(one, other)
        return
    assert direct_room(one, other) == direct_room(other, one)
    assert re.search(ID_PATTERN, direct_room(one, other))


@given(st.lists(given_.ids, min_size=4, max_size=4))
def test_different_pairs_have_different_direct_rooms(users: list[str]) -> None:
    one, other = set(users[:2]), set(users[2:])
    if len(one) == len(other) == 2 and one != other:
        assert direct_room(*one) != direct_room(*other)


@given(given_.ids, given_.ids, given_.ids, given_.ids)
def test_message_ids_are_equal_only_for_the_same_user_and_command(a: str, b: str, c: str, d: str) -> None:
    assert (message_id(a, b) == message_id(c, d)) == ((a, b) == (c, d))


@given(given_.ids, given_.ids)
def test_an_event_hash_fits_into_a_cursor(user: str, command: str) -> None:
    assert str(parse_cursor(f"1-1-{event_hash(user, command)}")).endswith(event_hash(user, command))


# Digests.


@given(given_.ids, given_.stored_commands, st.booleans(), given_.traceparents)
def test_every_attempt_of_a_command_has_the_same_digest(
    user: str, command: StoredCommand, again: bool, traceparent: str
) -> None:
    later = replace(command, again=again, traceparent=traceparent)
    assert command_digest(user, later) == command_digest(user, command)


@given(given_.ids, given_.stored_commands, given_.stored_commands)
def test_commands_that_ask_for_different_things_have_different_digests(
    user: str, one: StoredCommand, other: StoredCommand
) -> None:
    plain = [replace(command, again=False, traceparent=msgspec.UNSET) for command in (one, other)]
    assert (command_digest(user, one) == command_digest(user, other)) == (plain[0] == plain[1])


def test_a_digest_differs_by_author() -> None:
    command = Send(id="a", room="r", text="x")
    assert command_digest("ana", command) != command_digest("bob", command)


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        (Send(id="a", room="r", text="x"), "message"),
        (Edit(id="a", room="r", target=AT, text="x"), "edit"),
        (Delete(id="a", room="r", target=AT), "delete"),
        (React(id="a", room="r", target=AT, emoji="👍"), "reaction"),
    ],
)
def test_each_stored_command_makes_its_kind_of_event(command: StoredCommand, kind: str) -> None:
    assert command_kind(command) == kind


# Envelopes and control events.

envelopes = st.builds(
    Envelope,
    kind=st.sampled_from(["message", "edit", "delete", "reaction", "member", "erased"]),
    room=given_.ids,
    user=given_.ids,
    id=given_.ids,
    ts=given_.times,
    digest=st.text("0123456789abcdef", min_size=32, max_size=32),
    body=st.none() | st.builds(Sealed, given_.ids, st.binary(max_size=50)),
    target=st.none() | given_.positions,
    reply_to=st.none() | given_.positions,
    mentions=given_.mentions,
    emoji=st.none() | given_.emoji,
    on=st.booleans(),
    change=st.none() | given_.changes,
    actor=st.none() | given_.ids,
    traceparent=st.none() | given_.traceparents,
)
origins = {"id": given_.ids, "actor": given_.ids, "ts": given_.times}
members = st.lists(st.builds(Member, given_.ids, given_.roles, given_.texts), max_size=2).map(tuple)
controls = st.one_of(
    st.builds(
        RoomPut,
        **origins,
        room=given_.ids,
        room_kind=st.sampled_from(["course", "direct"]),
        title=given_.texts,
        closed=st.booleans(),
        members=members,
    ),
    st.builds(MemberPut, **origins, room=given_.ids, user=given_.ids, role=st.none() | given_.roles, name=given_.texts),
    st.builds(Revoked, **origins, user=given_.ids, before=given_.times),
    st.builds(EpochRaised, **origins, partition=st.integers(0, 7), epoch=given_.epochs),
    st.builds(Heartbeat, **origins),
)


@given(envelopes)
def test_every_envelope_survives_storage(stored: Envelope) -> None:
    assert decode_envelope(encode_envelope(stored)) == stored


@given(controls)
def test_every_control_event_survives_storage(event: control.ControlEvent) -> None:
    assert decode_control(encode_control(event)) == event


@given(st.binary(max_size=100))
@example(b'{"kind":"hb","id":"\xff"}')
@example(b'{"kind":"message","room":"\xff"}')
@example(b'{"kind":"hb","x":' + b"[" * 30_000)
@example(b'{"room":' + b"[" * 30_000)
def test_what_is_no_stored_form_is_a_decode_error(data: bytes) -> None:
    for decode in (decode_envelope, decode_control):
        with contextlib.suppress(msgspec.DecodeError):
            decode(data)


@pytest.mark.parametrize(
    ("event", "subject"),
    [
        (RoomPut(id="a", actor="b", ts=1, room="r", room_kind="course", title="t"), "ctl.room.r"),
        (MemberPut(id="a", actor="b", ts=1, room="r", user="u", role=None), "ctl.room.r"),
        (Revoked(id="a", actor="b", ts=1, user="u", before=2), "ctl.user.u"),
        (EpochRaised(id="a", actor="b", ts=1, partition=3, epoch=2), "ctl.epoch.3"),
        (Heartbeat(id="a", actor="b", ts=1), "ctl.hb"),
    ],
)
def test_each_control_event_has_its_subject(event: control.ControlEvent, subject: str) -> None:
    assert control_subject(event) == subject


@given(given_.ids, given_.texts)
def test_what_the_plain_sealer_sealed_it_opens(author: str, text: str) -> None:
    sealed = PlainSealer().seal(author, text)
    assert PlainSealer().open(sealed) == text
    assert sealed.kid == f"plain:{author}"


def test_a_message_in_a_page_leaves_out_what_is_empty() -> None:
    plain = Message(room="r", epoch=1, seq=7, id="a", sender="ana", ts=5, text="x")
    assert json.loads(msgspec.json.encode(plain)) == {
        "room": "r",
        "epoch": 1,
        "seq": 7,
        "id": "a",
        "sender": "ana",
        "ts": 5,
        "text": "x",
    }
    assert plain.position == AT
    notice = replace(plain, text="", notice=MemberChange("bob", None))
    assert json.loads(msgspec.json.encode(notice))["notice"] == {"user": "bob", "role": None}


# Errors.


def test_every_error_code_has_a_rule() -> None:
    assert set(ERRORS) == set(ErrorCode)
    assert all(400 <= rule.status < 600 and rule.action for rule in ERRORS.values())


@pytest.mark.parametrize("code", list(ErrorCode))
def test_whether_to_retry_comes_from_the_table(code: ErrorCode) -> None:
    error = ProtocolError(code, "why")
    assert error.retryable is ERRORS[code].retryable
    assert str(error) == "why"


@pytest.mark.parametrize("code", list(CloseCode))
def test_the_range_of_a_close_code_says_whether_to_reconnect(code: CloseCode) -> None:
    if 4000 <= code < 5000:
        assert code.reconnect == (code < 4500)


def test_a_normal_end_is_not_followed_by_a_new_connection_and_going_away_is() -> None:
    assert not CloseCode.NORMAL.reconnect
    assert CloseCode.GOING_AWAY.reconnect


def test_the_tables_in_the_documentation_are_those_in_the_code(request: pytest.FixtureRequest) -> None:
    text = (request.config.rootpath / "docs" / "protocol.md").read_text()
    documented = dict(re.findall(r"^\| (4[0-9]{3}) \| ([a-z_]+) \|", text, re.MULTILINE))
    assert documented == {str(int(code)): code.name.lower() for code in errors.CloseCode if code >= 4000}
