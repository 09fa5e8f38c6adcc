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


def _go_on(self: Outbox, now: float) -> Any:
    self._not_before = None
    self._failures = 0
    entries = list(self._entries.values())[:WINDOW]
    return [self._attempt(entry) for entry in entries if not entry.under_way]


def _client_goes_on() -> Sequence[Patch]:
    return [(Outbox, "take", _go_on)]


def _client_goes_on_without_lanes() -> Sequence[Patch]:
    return [*_client_goes_on(), *_lanes_off()]


def _refused_are_not_awaited() -> Sequence[Patch]:
    """As it was: the lane of a client that goes on is open once the first command is stored."""
    return [*_client_goes_on(), (Lanes, "refused", lambda self, room, command, now: None)]


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


CLIENT_THAT_GOES_ON: Final = Mutation("client-that-goes-on", "none: nodes hold its order", _client_goes_on)
ORDER: Final = (
    Mutation("lanes-off", "§3.2 nothing overtakes a command that failed", _lanes_off),
    Mutation("client-goes-on", "§3.2 a client resends from the head", _client_goes_on_without_lanes),
    Mutation("refused-not-awaited", "§3.2 what is refused behind a failure is awaited", _refused_are_not_awaited),
    Mutation("batches-overlap", "§3.2 batch k+1 starts when k is resolved", _batches_overlap),
    Mutation("fallback-unchecked", "§3.2 the rule is checked again in the fallback", _fallback_unchecked),
)
