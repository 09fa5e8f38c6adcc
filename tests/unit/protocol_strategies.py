"""Hypothesis strategies for every frame and event of the protocol."""

from typing import TypeVar

import msgspec
from hypothesis import strategies as st

from chatnode.protocol import frames, limits
from chatnode.protocol.cursors import Cursor
from chatnode.protocol.errors import ErrorCode
from chatnode.protocol.events import (
    DelayedEvent,
    DeleteEvent,
    EditEvent,
    Event,
    MemberEvent,
    MembershipEvent,
    MessageEvent,
    PresenceEvent,
    ReactionEvent,
    ReadEvent,
    SubscribedEvent,
    TypingEvent,
    UnsubscribedEvent,
    WholeEvent,
)
from chatnode.protocol.frames import Command, MemberChange, Message, Position, Receipt, StoredCommand

T = TypeVar("T")

ids = st.text("abcxyzABCXYZ0189_-", min_size=1, max_size=64)
epochs = st.integers(0, 2**31 - 1)
seqs = st.integers(0, 2**53 - 1)
times = st.integers(0, 2**45)
hashes = st.just("0") | st.text("0123456789abcdef", min_size=8, max_size=8)
cursors = st.builds(Cursor, epochs, seqs, hashes)
cursor_texts = cursors.map(str)
positions = st.builds(Position, epochs, seqs)
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200)
emoji = st.sampled_from(["👍", "❤️", "🎉", "+1", "👩‍👩‍👧‍👦"])
mentions = st.lists(ids, max_size=3).map(tuple)
traceparents = st.builds(
    "00-{:032x}-{:016x}-{:02x}".format, st.integers(0, 2**128 - 1), st.integers(0, 2**64 - 1), st.integers(0, 255)
)
tokens = st.text("abc.-_XYZ0", min_size=1, max_size=40)
page_limits = st.integers(1, limits.PAGE_MAX)
roles = st.sampled_from(["learner", "trainer", "moderator"])


def maybe(strategy: st.SearchStrategy[T]) -> st.SearchStrategy[T | msgspec.UnsetType]:
    return st.just(msgspec.UNSET) | strategy


stored_fields = {"id": ids, "room": ids, "again": st.booleans(), "traceparent": maybe(traceparents)}
stored_commands: st.SearchStrategy[StoredCommand] = st.one_of(
    st.builds(frames.Send, **stored_fields, text=texts, reply_to=maybe(positions), mentions=mentions),
    st.builds(frames.Edit, **stored_fields, target=positions, text=texts, mentions=mentions),
    st.builds(frames.Delete, **stored_fields, target=positions),
    st.builds(frames.React, **stored_fields, target=positions, emoji=emoji, on=st.booleans()),
)
commands: st.SearchStrategy[Command] = st.one_of(
    stored_commands,
    st.builds(
        frames.Connect,
        id=ids,
        token=maybe(tokens),
        cursors=st.dictionaries(ids, cursor_texts, max_size=3),
    ),
    st.builds(frames.Subscribe, id=ids, room=ids, cursor=maybe(cursor_texts), limit=page_limits),
    st.builds(frames.Unsubscribe, id=ids, room=ids),
    st.builds(frames.Read, id=ids, room=ids, at=positions),
    st.builds(frames.Typing, id=ids, room=ids, active=st.booleans()),
    st.builds(frames.History, id=ids, room=ids, before=maybe(positions), limit=page_limits),
    st.builds(frames.History, id=ids, room=ids, after=maybe(positions), limit=page_limits),
    st.builds(frames.History, id=ids, room=ids, around=maybe(positions), limit=page_limits),
    st.builds(frames.Presence, id=ids, room=ids),
    st.builds(frames.Refresh, id=ids, token=tokens),
    st.builds(frames.Ping, id=ids),
)

changes = st.builds(MemberChange, user=ids, role=st.none() | roles, name=st.text(max_size=10).filter(str.isascii))
receipts = st.lists(st.builds(Receipt, ids, positions), max_size=2).map(tuple)
messages = st.builds(
    Message,
    room=ids,
    epoch=epochs,
    seq=seqs,
    id=ids,
    sender=ids,
    ts=times,
    text=texts,
    reply_to=st.none() | positions,
    mentions=mentions,
    edited=st.none() | times,
    rev=seqs,
    rev_epoch=epochs,
    deleted=st.none() | st.builds(frames.Deletion, ids, times),
    reactions=st.dictionaries(emoji, st.lists(ids, min_size=1, max_size=2).map(tuple), max_size=2),
    notice=st.none() | changes,
)
pages = st.lists(messages, max_size=2).map(tuple)
welcomes = st.builds(
    frames.Welcome,
    id=ids,
    user=ids,
    name=texts,
    node=ids,
    session=ids,
    version=texts,
    heartbeat_ms=times,
    expires_at=times,
    limits=st.just(frames.Limits()),
)
acks = st.builds(
    frames.Ack,
    id=ids,
    room=maybe(ids),
    epoch=maybe(epochs),
    seq=maybe(seqs),
    ts=maybe(times),
    cursor=maybe(cursor_texts),
    recovered=maybe(st.booleans()),
    messages=maybe(pages),
    more_before=maybe(st.booleans()),
    more_after=maybe(st.booleans()),
    partial=maybe(st.booleans()),
    receipts=maybe(receipts),
    online=maybe(mentions),
    count=maybe(times),
    expires_at=maybe(times),
)
errors = st.builds(
    frames.Error,
    code=st.sampled_from(ErrorCode).map(str),
    message=texts,
    retryable=st.booleans(),
    id=maybe(ids),
    field=maybe(ids),
    retry_after=maybe(st.floats(0, 1e6)),
)
reconnects = st.builds(frames.Reconnect, after_ms=times, reason=st.sampled_from(["drain", "rebalance", "shutdown"]))
replies = st.one_of(welcomes, acks, errors, reconnects)

event_fields = {
    "room": ids,
    "epoch": epochs,
    "seq": seqs,
    "prev": seqs,
    "cursor": cursor_texts,
    "ts": times,
    "sender": ids,
    "id": ids,
    "traceparent": maybe(traceparents),
}
stored_events = st.one_of(
    st.builds(MessageEvent, **event_fields, text=texts, reply_to=maybe(positions), mentions=maybe(mentions)),
    st.builds(EditEvent, **event_fields, target=positions, text=texts, mentions=maybe(mentions)),
    st.builds(DeleteEvent, **event_fields, target=positions),
    st.builds(ReactionEvent, **event_fields, target=positions, emoji=emoji, on=st.booleans()),
    st.builds(MemberEvent, **event_fields, change=changes),
)
passing_events = st.one_of(
    st.builds(TypingEvent, room=ids, sender=ids, active=st.booleans(), expires_ms=times),
    st.builds(ReadEvent, room=ids, sender=ids, at=positions),
    st.builds(PresenceEvent, room=ids, online=maybe(mentions), offline=maybe(mentions), count=maybe(times)),
    st.builds(
        SubscribedEvent,
        room=ids,
        cursor=cursor_texts,
        recovered=st.booleans(),
        messages=maybe(pages),
        more_before=maybe(st.booleans()),
        partial=maybe(st.booleans()),
        receipts=maybe(receipts),
    ),
    st.builds(UnsubscribedEvent, room=ids, code=ids, message=texts, retryable=st.booleans()),
    st.builds(MembershipEvent, room=ids, role=st.none() | roles, room_kind=ids, title=texts, closed=st.booleans()),
    st.builds(WholeEvent, room=ids),
    st.builds(DelayedEvent, on=st.booleans()),
)
events: st.SearchStrategy[Event] = st.one_of(stored_events, passing_events)
