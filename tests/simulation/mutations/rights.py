"""Rights hold now (§2.5)."""

from collections.abc import Sequence
from typing import Final

from chatnode.identity.control import ControlTail, Numbered
from chatnode.node import Node
from chatnode.protocol.control import ControlEvent
from chatnode.rooms.control_log import ControlLog, RoomEvent
from chatnode.rooms.posting import Poster
from chatnode.transports.desk import Desk
from tests.simulation.mutations.mutation import Mutation, Patch


def _delivery_after_removal() -> Sequence[Patch]:
    return [(Desk, "_enforce", lambda self, rights, name: None)]


def _control_is_not_asked() -> Sequence[Patch]:
    async def hear(self: Node) -> None:
        return None

    return [(Node, "hear_control", hear)]


def _no_check_before_publish() -> Sequence[Patch]:
    return [(Poster, "check", lambda self, author, command, target: None)]


def _never_suspended() -> Sequence[Patch]:
    return [(ControlTail, "suspended", lambda self, now: False)]


def _control_gaps_unnoticed() -> Sequence[Patch]:
    def offer(self: ControlTail, seq: int, event: ControlEvent | None, now: float) -> list[Numbered]:
        self.known(seq)
        return self._advance([(seq, event)], now) if seq > self.position else []

    return [(ControlTail, "offer", offer)]


def _projection_alone() -> Sequence[Patch]:
    def of_room(self: ControlLog, room: str) -> tuple[tuple[int, RoomEvent], ...]:
        return ()

    return [(ControlLog, "of_room", of_room)]


RIGHTS: Final = (
    Mutation("never-suspended", "§2.5 who has not heard control for 5 s delivers nothing", _never_suspended),
    Mutation("control-gaps-unnoticed", "§2.5 control is numbered, and heard without a hole", _control_gaps_unnoticed),
    Mutation("projection-alone", "§2.5 nodes decide on the projection and what came after it", _projection_alone),
    Mutation("delivery-after-removal", "§2.5 a removal ends open subscriptions", _delivery_after_removal),
    Mutation("control-not-asked", "§2.5 who says not found has asked what control holds", _control_is_not_asked),
    Mutation("no-check-before-publish", "§2.5 rights are checked right before the publish", _no_check_before_publish),
)
