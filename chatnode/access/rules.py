"""The table of rights, and the decisions that read it.

A decision is ``None`` (allowed) or the :class:`ErrorCode` of the refusal. Whoever is not a member is told
``not_found``, so that nobody learns which rooms exist.
"""

import enum
from collections.abc import Iterable, Mapping
from typing import Final

from chatnode.protocol.control import Role, RoomKind
from chatnode.protocol.errors import ErrorCode


class Action(enum.StrEnum):
    READ = "read"
    SEND = "send"
    EDIT_OWN = "edit_own"
    DELETE_OWN = "delete_own"
    DELETE_ANY = "delete_any"
    """Take down what somebody else wrote."""
    REACT = "react"
    TYPE = "type"
    MARK_READ = "mark_read"
    SEE_PRESENCE = "see_presence"
    ADD_MEMBER = "add_member"
    REMOVE_MEMBER = "remove_member"
    """Remove somebody else; for oneself it is ``LEAVE``."""
    SET_ROLE = "set_role"
    """Change the role or name of somebody who is a member already."""
    LEAVE = "leave"
    CHANGE_ROOM = "change_room"
    """Title, and whether it is closed."""


_EVERYBODY: Final = frozenset(
    {
        Action.READ,
        Action.SEND,
        Action.EDIT_OWN,
        Action.DELETE_OWN,
        Action.REACT,
        Action.TYPE,
        Action.MARK_READ,
        Action.SEE_PRESENCE,
    }
)
_MODERATION: Final = frozenset({Action.DELETE_ANY, Action.ADD_MEMBER, Action.REMOVE_MEMBER, Action.SET_ROLE})

RIGHTS: Final[Mapping[tuple[RoomKind, Role], frozenset[Action]]] = {
    ("course", "learner"): _EVERYBODY | {Action.LEAVE},
    ("course", "trainer"): _EVERYBODY | {Action.LEAVE} | _MODERATION,
    ("course", "moderator"): _EVERYBODY | {Action.LEAVE} | _MODERATION,
    ("direct", "learner"): _EVERYBODY,
    ("direct", "trainer"): _EVERYBODY,
    ("direct", "moderator"): _EVERYBODY,
}
"""Changing a room belongs to the platform's backend alone. A direct room keeps its two people for ever."""

WITHOUT_WRITING: Final = frozenset({Action.READ, Action.MARK_READ, Action.SEE_PRESENCE, Action.LEAVE})
"""What a closed room still allows to those who have the right to it."""

SERVICE_RIGHTS: Final[Mapping[RoomKind, frozenset[Action]]] = {
    "course": frozenset(
        {Action.READ, Action.ADD_MEMBER, Action.REMOVE_MEMBER, Action.SET_ROLE, Action.CHANGE_ROOM},
    ),
    "direct": frozenset({Action.READ}),
}
"""What the platform's backend does over REST, in closed rooms too."""

_RANK: Final[Mapping[Role, int]] = {"learner": 0, "moderator": 1, "trainer": 2}


def decide(kind: RoomKind, role: Role | None, action: Action, *, closed: bool) -> ErrorCode | None:
    """Whether somebody with this role (None: no member) may do it; a missing right is told before a closed room is."""
    if role is None:
        return ErrorCode.NOT_FOUND
    if action not in RIGHTS[kind, role]:
        return ErrorCode.FORBIDDEN
    if closed and action not in WITHOUT_WRITING:
        return ErrorCode.ROOM_CLOSED
    return None


def decide_service(kind: RoomKind, action: Action) -> ErrorCode | None:
    return None if action in SERVICE_RIGHTS[kind] else ErrorCode.FORBIDDEN


def decide_rank(actor: Role, *roles: Role | None) -> ErrorCode | None:
    """Whether ``actor`` may give or take away these roles: nobody does so with a role above their own.

    ``None`` stands for "not a member" and is below all.
    """
    above = any(role is not None and _RANK[role] > _RANK[actor] for role in roles)
    return ErrorCode.FORBIDDEN if above else None


def decide_direct(shared: Iterable[tuple[Role, Role]]) -> ErrorCode | None:
    """Whether two people may open a direct room, given both roles in each *open* course that they share.

    One of the two has to be a trainer or moderator in a course that both are in: learners do not write to each other
    in private. Without a shared course the other person is not visible at all.
    """
    pairs = tuple(shared)
    if not pairs:
        return ErrorCode.NOT_FOUND
    return None if any(pair != ("learner", "learner") for pair in pairs) else ErrorCode.FORBIDDEN
