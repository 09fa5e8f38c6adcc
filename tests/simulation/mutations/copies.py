"""What comes twice: copies in the stream, and what somebody had already (§2.2, §2.3)."""

from collections.abc import Sequence
from typing import Any, Final

import chatnode.rooms.catchup
import chatnode.rooms.gaps
import chatnode.rooms.hub
import chatnode.rooms.room
from chatclient.following import Following
from chatclient.following import Verdict as Seen
from chatnode.history import folds, writer
from chatnode.rooms.catchup import CatchUp
from chatnode.rooms.chain import Verdict
from tests.simulation.mutations.mutation import Mutation, Patch


def _never_late(*_args: object) -> bool:
    return False


def _judge_without_seen(self: Following, event: Any) -> Seen:
    seen, self._seen = self._seen, {}
    try:
        return _JUDGE(self, event)
    finally:
        self._seen = seen


_JUDGE: Final = Following.judge


def _copies_count_in_history() -> Sequence[Patch]:
    def settle(epoch: int, entries: Any, claims: Any) -> folds.Settlement:
        return folds.Settlement(tuple(entries), (), ())

    return [(writer, "settle", settle)]


def _copies_count_in_pages() -> Sequence[Patch]:
    async def tail(self: CatchUp, room: str, epoch: int, start: int, end: int) -> Any:
        stored = await self._log.upto(room, start, end, 5000)
        return self._events(stored or [], epoch, start)

    return [(CatchUp, "_tail", tail), (chatnode.rooms.catchup, "is_late", _never_late)]


def _copies_count_live() -> Sequence[Patch]:
    return [
        (chatnode.rooms.hub, "is_late", _never_late),
        (chatnode.rooms.gaps, "is_late", _never_late),
        (Following, "judge", _judge_without_seen),
    ]


def _old_events_count() -> Sequence[Patch]:
    def judge(last: int, prev: int, seq: int) -> Verdict:
        return Verdict.GAP if prev > last else Verdict.NEXT

    def judge_in_client(self: Following, event: Any) -> Seen:
        last, self._last = self._last, None
        try:
            return _judge_without_seen(self, event)
        finally:
            self._last = last

    return [(chatnode.rooms.room, "judge", judge), (Following, "judge", judge_in_client)]


COPIES: Final = (
    Mutation("copies-count-in-history", "§2.2 the lowest seq wins in history", _copies_count_in_history),
    Mutation("copies-count-in-pages", "§2.2 the lowest seq wins in catch-up", _copies_count_in_pages),
    Mutation("copies-count-live", "§2.2 the lowest seq wins on nodes and in clients", _copies_count_live),
    Mutation("old-events-count", "§2.3 everyone sees a room's events in seq order", _old_events_count),
)
