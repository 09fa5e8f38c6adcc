"""Rights hold now (§2.5)."""

from collections.abc import Sequence
from typing import Final

from chatnode.node import Node
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


RIGHTS: Final = (
    Mutation("delivery-after-removal", "§2.5 a removal ends open subscriptions", _delivery_after_removal),
    Mutation("control-not-asked", "§2.5 who says not found has asked what control holds", _control_is_not_asked),
    Mutation("no-check-before-publish", "§2.5 rights are checked right before the publish", _no_check_before_publish),
)
