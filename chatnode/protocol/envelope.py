"""The stored form of an event: what is published to ``chat.<p>.room.<room>`` and read by nodes and workers.

What people wrote is inside ``body``, sealed under the author's key id, and is opened nowhere but through a
:class:`chatnode.protocol.sealing.Sealer`. Everything else is metadata.
"""

import hashlib
from typing import Final, Literal

import msgspec
from msgspec import Struct

from chatnode.protocol.frames import Delete, Edit, MemberChange, Position, React, Send, StoredCommand

EventKind = Literal["message", "edit", "delete", "reaction", "member", "erased"]

SYSTEM_USER: Final = "-"
"""Author, for idempotency, of events that a worker derives from control events; it passes no user's id pattern twice:
tokens with this subject are refused."""


class Sealed(Struct, frozen=True, array_like=True):
    kid: str
    data: bytes


class Envelope(Struct, frozen=True, kw_only=True, omit_defaults=True):
    kind: EventKind
    room: str
    user: str
    """Author of the command; with ``id`` unique over all rooms and kinds."""
    id: str
    ts: int
    digest: str
    """:func:`command_digest`; tells a resend from an id that was used for something else."""
    body: Sealed | None = None
    target: Position | None = None
    reply_to: Position | None = None
    mentions: tuple[str, ...] = ()
    emoji: str | None = None
    on: bool = True
    change: MemberChange | None = None
    actor: str | None = None
    """Who did it, where that is not ``user``: on member events."""
    traceparent: str | None = None


_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(Envelope)


def encode_envelope(envelope: Envelope) -> bytes:
    return _ENCODER.encode(envelope)


def decode_envelope(data: bytes) -> Envelope:
    """The envelope; :class:`msgspec.DecodeError` (or its ValidationError) if ``data`` is none."""
    try:
        return _DECODER.decode(data)
    except (UnicodeError, RecursionError) as error:
        raise msgspec.DecodeError(f"not a JSON object: {error}") from error


def command_kind(command: StoredCommand) -> EventKind:
    match command:
        case Send():
            return "message"
        case Edit():
            return "edit"
        case Delete():
            return "delete"
        case React():
            return "reaction"


def command_digest(user: str, command: StoredCommand) -> str:
    """128 bits over what the command asks for, salted by its author and id; equal for every attempt of one command."""
    plain = msgspec.structs.replace(command, again=False, traceparent=msgspec.UNSET)
    return hashlib.blake2b(user.encode() + b"\n" + _ENCODER.encode(plain), digest_size=16).hexdigest()
