"""Control events: the stream ``CTRL``, the truth about rooms, members and revocations.

Subjects: ``ctl.room.<room>`` for everything about one room, ``ctl.user.<user>`` for one person, ``ctl.epoch.<p>`` for
partitions, ``ctl.hb`` for the heartbeat, one a second over all nodes. Within the stream every sequence number is used,
so a reader that sees n and then n+2 has missed one. MongoDB's ``rooms``, ``members`` and ``revocations`` are
projections of it; nodes decide on projection and tail.
"""

from typing import Final, Literal

import msgspec
from msgspec import Struct

RoomKind = Literal["course", "direct"]
Role = Literal["learner", "trainer", "moderator"]

HEARTBEAT_SUBJECT: Final = "ctl.hb"


class _Control(Struct, frozen=True, tag_field="kind", kw_only=True, omit_defaults=True):
    id: str
    """Id of the request that caused it: deduplicates retries."""
    actor: str
    ts: int


class Member(Struct, frozen=True, omit_defaults=True):
    user: str
    role: Role
    name: str = ""


class RoomPut(_Control, tag="room", frozen=True, kw_only=True):
    """A room was created or changed; ``members`` are added with it, in the same atomic event."""

    room: str
    room_kind: RoomKind
    title: str
    closed: bool = False
    members: tuple[Member, ...] = ()


class MemberPut(_Control, tag="member", frozen=True, kw_only=True):
    room: str
    user: str
    role: Role | None
    """null removes the member."""
    name: str = ""


class Revoked(_Control, tag="revoked", frozen=True, kw_only=True):
    """Tokens of this user issued before ``before`` (milliseconds) are void, and so are connections made with them."""

    user: str
    before: int


class EpochRaised(_Control, tag="epoch", frozen=True, kw_only=True):
    partition: int
    epoch: int


class Heartbeat(_Control, tag="hb", frozen=True, kw_only=True):
    pass


ControlEvent = RoomPut | MemberPut | Revoked | EpochRaised | Heartbeat

_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final[msgspec.json.Decoder[ControlEvent]] = msgspec.json.Decoder(ControlEvent)


def encode_control(event: ControlEvent) -> bytes:
    return _ENCODER.encode(event)


def decode_control(data: bytes) -> ControlEvent:
    """The event; :class:`msgspec.DecodeError` (or its ValidationError) if ``data`` is none."""
    try:
        return _DECODER.decode(data)
    except (UnicodeError, RecursionError) as error:
        raise msgspec.DecodeError(f"not a JSON object: {error}") from error


def control_subject(event: ControlEvent) -> str:
    match event:
        case RoomPut(room=room) | MemberPut(room=room):
            return f"ctl.room.{room}"
        case Revoked(user=user):
            return f"ctl.user.{user}"
        case EpochRaised(partition=partition):
            return f"ctl.epoch.{partition}"
        case Heartbeat():
            return HEARTBEAT_SUBJECT
