"""Ids: what they may look like, and those that are derived from others."""

import base64
import hashlib
from typing import Annotated, Final

from msgspec import Meta

from chatnode.protocol import limits

ID_PATTERN: Final = r"^[A-Za-z0-9_-]{1,64}$(?!\n)"

Id = Annotated[str, Meta(pattern=ID_PATTERN, max_length=limits.ID_LENGTH)]
"""A user's, a room's or a command's id."""


def message_id(user: str, command: str) -> str:
    """``Nats-Msg-Id`` of a command: unique because neither part can hold a colon."""
    return f"{user}:{command}"


def event_hash(user: str, command: str) -> str:
    """Eight hex digits that a cursor carries to tell whether its ``seq`` still holds the event that the client saw."""
    return hashlib.sha256(message_id(user, command).encode()).hexdigest()[:8]


def direct_room(one: str, other: str) -> str:
    """The room of two people, whoever opens it: ``d-`` and 128 bits of a hash over the sorted pair."""
    if one == other:
        raise ValueError(f"a direct room needs two people, got {one!r} twice")
    pair = "\n".join(sorted((one, other))).encode()
    return "d-" + base64.urlsafe_b64encode(hashlib.sha256(pair).digest()[:16]).decode().rstrip("=")
