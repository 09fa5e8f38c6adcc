"""Nobody misses anything: gaps, checks, joining and coming back (§2.4, §3.6)."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import chatnode.rooms.room
from chatnode.node import Node
from chatnode.protocol.cursors import Cursor
from chatnode.rooms.catchup import CatchUp
from chatnode.rooms.chain import Verdict
from chatnode.rooms.hub import Hub
from chatnode.rooms.ports import Unavailable
from chatnode.rooms.room import Phase, Room
from tests.simulation.mutations.mutation import Mutation, Patch
from tests.simulation.virtual_time import Stuck


def _gaps_are_not_fetched() -> Sequence[Patch]:
    def judge(last: int, prev: int, seq: int) -> Verdict:
        return Verdict.STALE if seq <= last else Verdict.NEXT

    return [(chatnode.rooms.room, "judge", judge)]


def _any_other_prev_is_a_gap() -> Sequence[Patch]:
    turns = 0

    def judge(last: int, prev: int, seq: int) -> Verdict:
        nonlocal turns
        turns += 1
        if turns > 20_000:
            turns = 0
            raise Stuck("a gap that never ends")
        if seq <= last:
            return Verdict.STALE
        return Verdict.NEXT if prev == last else Verdict.GAP

    return [(chatnode.rooms.room, "judge", judge)]


def _client_drops_gaps() -> Sequence[Patch]:
    def recovered(self: CatchUp, room: Room, cursor: Cursor) -> Any:
        async def nothing() -> list[bytes]:
            return []

        return nothing()

    return [(CatchUp, "recover", recovered)]


def _no_regular_check() -> Sequence[Patch]:
    async def verify(self: Hub, room: Room) -> None:
        return None

    async def settle(self: Hub, room: Room, deadline_s: float = 5.0) -> None:
        return None

    return [(Hub, "verify", verify), (Hub, "settle", settle)]


def _no_second_check() -> Sequence[Patch]:
    original = Hub._open

    async def opened(self: Hub, name: str) -> Room:
        room = await original(self, name)
        room.verify_at += 9.0
        return room

    return [(Hub, "_open", opened)]


def _no_check_after_election() -> Sequence[Patch]:
    return [(Hub, "verify_all", lambda self: None)]


def _put_off_checks() -> Sequence[Patch]:
    """As it was: who was asked to check a room while it fills does so when the next regular check is due."""
    original = Hub._fill

    async def fill(self: Hub, room: Room, end: int | None) -> None:
        await original(self, room, end)
        if room.phase is Phase.LIVE:
            room.verify_at = self._monotonic() + self._settings.verify_s

    return [(Hub, "_fill", fill)]


def _held_are_dropped() -> Sequence[Patch]:
    def drain(self: Hub, room: Room) -> bool:
        room.held.clear()
        return True

    return [(Hub, "_drain_held", drain)]


def _join_before_following() -> Sequence[Patch]:
    """What comes between the page and the subscription is not replayed."""
    original = Room.replay

    def replay(self: Room, seq: int) -> Any:
        return [] if seq != 0 else original(self, seq)

    return [(Room, "replay", replay)]


def _page_before_the_leader() -> Sequence[Patch]:
    async def settle(self: Hub, room: Room, deadline_s: float = 5.0) -> None:
        return None

    return [(Hub, "settle", settle)]


def _recovered_partly() -> Sequence[Patch]:
    original = CatchUp._fetch

    async def fetch(self: CatchUp, room: Room, cursor: Cursor, *, known: bool) -> Any:
        frames = await original(self, room, cursor, known=known)
        return frames and frames[: len(frames) // 2]

    return [(CatchUp, "_fetch", fetch)]


def _purged_cursors_believed() -> Sequence[Patch]:
    async def there(self: CatchUp, room: Room, cursor: Cursor) -> bool:
        return True

    return [(CatchUp, "_still_there", there)]


def _no_check_after_return() -> Sequence[Patch]:
    async def returned(self: Node) -> None:
        self.feed.verify()
        self._tasks.spawn(self._refresh_epochs(), "epochs-after-reconnect")

    return [(Node, "nats_returned", returned)]


def _page_without_tail() -> Sequence[Patch]:
    async def tail(self: CatchUp, room: str, epoch: int, start: int, end: int) -> list[Any]:
        return []

    return [(CatchUp, "_tail", tail)]


def _watermark_after_page() -> Sequence[Patch]:
    async def kept(self: CatchUp, room: str, asked: Any) -> Any:
        page = await self._history.page(room, **asked._asdict())
        return await self._history.watermark(self._log.partition_of(room)), page

    return [(CatchUp, "_kept", kept)]


def _suspended_is_level() -> Sequence[Patch]:
    """As it was: a hub that delivers nothing was taken for one that has delivered everything."""

    async def settle(self: Hub, room: Room, deadline_s: float = 5.0) -> None:
        try:
            async with asyncio.timeout(deadline_s):
                await self.verify(room)
                while room.filling:
                    await asyncio.sleep(0.01)
        except TimeoutError as error:
            raise Unavailable(room.name) from error

    return [(Hub, "settle", settle)]


FOLLOWING: Final = (
    Mutation("gaps-not-fetched", "§2.4 a gap is fetched before what follows", _gaps_are_not_fetched),
    Mutation("other-prev-is-gap", "§2.4 prev <= last is no gap", _any_other_prev_is_a_gap),
    Mutation("recovered-empty", "§2.4 a cursor gets all that was missed", _client_drops_gaps),
    Mutation("recovered-partly", "§2.4 never something partial", _recovered_partly),
    Mutation("purged-cursors-believed", "§2.4 a cursor below the purge floor is looked up", _purged_cursors_believed),
    Mutation("no-regular-check", "§2.4 a lost last message is found within 10 s", _no_regular_check),
    Mutation("no-second-check", "§3.6 the check holds again 1 s later", _no_second_check),
    Mutation("no-check-after-election", "§3 an election means: verify every open room", _no_check_after_election),
    Mutation("no-check-after-return", "§3 so does a reconnect", _no_check_after_return),
    Mutation("put-off-checks", "§3 a check that an election asks for is not put off", _put_off_checks),
    Mutation("held-are-dropped", "§3.6 what was buffered beyond the boundary is delivered", _held_are_dropped),
    Mutation("replay-empty", "§3.6 nothing lies between page and subscription", _join_before_following),
    Mutation("page-before-leader", "§3.6 a page reaches to the leader's end", _page_before_the_leader),
    Mutation("suspended-is-level", "§3.6 also where the node was suspended", _suspended_is_level),
    Mutation("page-without-tail", "§3.6 the writer's lag is never seen", _page_without_tail),
    Mutation("watermark-after-page", "§3.6 the watermark is read before the page", _watermark_after_page),
)
