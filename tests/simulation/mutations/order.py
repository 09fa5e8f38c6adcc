"""Each sender's order, through lanes, batches and the client's outbox (§3.2)."""

from collections.abc import Sequence
from typing import Any, Final

from chatclient.outbox import WINDOW, Outbox
from chatnode.broker.publish import Publisher
from chatnode.rooms.posting import Posting
from chatnode.session.lanes import Lanes
from tests.simulation.mutations.mutation import Mutation, Patch


def _lanes_off() -> Sequence[Patch]:
    return [(Lanes, "passes", lambda self, room, command, now: True)]


def _client_goes_on_after_a_failure() -> Sequence[Patch]:
    def take(self: Outbox, now: float) -> Any:
        self._not_before = None
        self._failures = 0
        entries = list(self._entries.values())[:WINDOW]
        return [self._attempt(entry) for entry in entries if not entry.under_way]

    return [(Outbox, "take", take), (Lanes, "passes", lambda self, room, command, now: True)]


def _batches_overlap() -> Sequence[Patch]:
    async def run(self: Publisher, partition: int) -> None:
        from chatnode.broker.subjects import stream_name

        queue, waker, stream = self._queues[partition], self._wakers[partition], stream_name(partition)
        while True:
            await waker.wait()
            waker.clear()
            while queue:
                self._tasks.spawn(self._store(stream, self._take(queue)), "store")

    return [(Publisher, "_run", run)]


def _fallback_unchecked() -> Sequence[Patch]:
    """What waited in a batch is not asked again whether it may be stored."""
    original = Posting.payload
    asked: dict[int, tuple[Posting, Any]] = {}

    def payload(self: Posting) -> Any:
        return asked.setdefault(id(self), (self, original(self)))[1]

    return [(Posting, "payload", payload)]


ORDER: Final = (
    Mutation("lanes-off", "§3.2 nothing overtakes a command that failed", _lanes_off),
    Mutation("client-goes-on", "§3.2 a client resends from the head", _client_goes_on_after_a_failure),
    Mutation("batches-overlap", "§3.2 batch k+1 starts when k is resolved", _batches_overlap),
    Mutation("fallback-unchecked", "§3.2 the rule is checked again in the fallback", _fallback_unchecked),
)
