"""Local fan-out: rooms that somebody on this node follows, opened live, kept whole, closed when nobody is left.

Promises (ARCHITECTURE §2.3, §2.4): a follower gets every event of the room after the cursor at which it joined, once
each, in order; where that cannot be kept, it is told by ``ended`` and has to subscribe again.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec

from chatnode.protocol.codec import encode_frame
from chatnode.protocol.cursors import Cursor
from chatnode.protocol.envelope import Envelope, decode_envelope
from chatnode.protocol.errors import ErrorCode
from chatnode.protocol.sealing import Sealer
from chatnode.rooms.chain import Verdict
from chatnode.rooms.copies import is_late
from chatnode.rooms.gaps import GAP_MAX, Gaps
from chatnode.rooms.ports import HistoryAway, HistoryReader, LiveFeed, LiveMessage, RoomLog, Unavailable
from chatnode.rooms.render import cursor_of, event_of
from chatnode.rooms.room import Follower, Phase, Room, TooFarBehind
from chatnode.rooms.tasks import TaskOwner
from chatnode.telemetry.traces import Step, Tracing

logger = logging.getLogger(__name__)

_TICK_S: Final = 0.5
_RETRY_S: Final = 0.25
_RETRY_MAX_S: Final = 2.0
_VERIFY_AT_ONCE: Final = 16


@dataclass(frozen=True)
class HubSettings:
    linger_s: float = 30.0
    """How long a room stays open after its last follower left."""
    verify_soon_s: float = 1.0
    """Interest takes a moment to reach other servers; what was missed meanwhile is found by this check."""
    verify_s: float = 10.0
    """A lost last message shows no gap: the last sequence of every open room is checked this often."""


@dataclass(frozen=True)
class HubReport:
    """What the hub tells about itself; the application hangs metrics on it."""

    delivered: Callable[[int], None] = lambda _count: None
    gap: Callable[[], None] = lambda: None
    rooms: Callable[[int], None] = lambda _count: None
    unreadable: Callable[[], None] = lambda: None


class Hub:
    def __init__(
        self,
        *,
        log: RoomLog,
        live: LiveFeed,
        history: HistoryReader,
        sealer: Sealer,
        epoch_of: Callable[[int], int],
        frame: Callable[[bytes], bytes],
        monotonic: Callable[[], float],
        wall_ms: Callable[[], int],
        settings: HubSettings,
        report: HubReport,
        tracing: Tracing,
        cut_off: Callable[[], bool] = lambda: False,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        """``beat`` is called every half a second."""
        self._beat = beat
        self._log = log
        self._live = live
        self._history = history
        self._sealer = sealer
        self._epoch_of = epoch_of
        self._frame = frame
        self._monotonic = monotonic
        self._wall_ms = wall_ms
        self._settings = settings
        self._report = report
        self._tracing = tracing
        self._cut_off = cut_off
        self._rooms: dict[str, Room] = {}
        self._opening: dict[str, asyncio.Task[Room]] = {}
        self._tasks = TaskOwner()
        self._suspended = False
        self._gaps = Gaps(log, history, wall_ms=wall_ms, decode=self._decode)

    def rooms(self) -> tuple[Room, ...]:
        return tuple(self._rooms.values())

    def room(self, name: str) -> Room | None:
        return self._rooms.get(name)

    def start(self) -> None:
        self._tasks.spawn(self._keep(), "hub-keep")

    async def stop(self) -> None:
        await self._tasks.stop()
        for opening in tuple(self._opening.values()):
            opening.cancel()
        await asyncio.gather(*self._opening.values(), return_exceptions=True)
        for room in tuple(self._rooms.values()):
            await self._close(room)

    async def open(self, name: str) -> Room:
        """The room, live: subscribed, and delivered up to the leader's last event. :class:`Unavailable` otherwise."""
        room = self._rooms.get(name)
        if room is not None:
            if room.headless:
                await self._find_head(room)
            return room
        opening = self._opening.get(name)
        if opening is None:
            opening = asyncio.create_task(self._open(name), name=f"open-{name}")
            self._opening[name] = opening
            opening.add_done_callback(lambda _task: self._opening.pop(name, None))
        return await asyncio.shield(opening)

    def follow(self, room: Room, follower: Follower) -> None:
        """From the room's cursor on, ``follower`` gets every event. Synchronous: nothing lies in between."""
        self._flush(room)
        room.followers[follower] = follower.sink
        room.idle_since = None

    def leave(self, name: str, follower: Follower) -> None:
        room = self._rooms.get(name)
        if room is None or room.followers.pop(follower, self) is self:
            return
        if not room.followers:
            room.idle_since = self._monotonic()

    def pass_on(self, room: Room, payload: bytes) -> None:
        """A passing event of this node's own, to the followers here."""
        if room.phase in (Phase.LIVE, Phase.FILLING):
            self._flush(room)
            room.pass_on(self._frame(payload))

    async def verify(self, room: Room) -> None:
        """Compare with the leader's last event and fetch what is missing."""
        last = await self._log.last(room.name)
        if last is not None and last.seq > room.reached and room.phase is Phase.LIVE:
            self._begin_filling(room, last.seq)

    async def settle(self, room: Room, deadline_s: float = 5.0) -> None:
        """Deliver up to what the leader holds now; :class:`Unavailable` when that takes too long, as where nothing is
        delivered since control is not heard."""
        try:
            async with asyncio.timeout(deadline_s):
                last = await self._log.last(room.name)
                # An event per room would cost more than this rare wait.
                while last is not None and room.reached < last.seq and room.phase is not Phase.ENDED:
                    if room.phase is Phase.LIVE:
                        self._begin_filling(room, last.seq)
                    await asyncio.sleep(0.01)
        except TimeoutError as error:
            raise Unavailable(f"room {room.name} is still fetching what it missed") from error

    def verify_all(self) -> None:
        """NATS was away or a reader too slow: every open room is checked at the next tick."""
        for room in self._rooms.values():
            room.verify_at = 0.0

    @property
    def level(self) -> bool:
        """Whether every open room has been delivered up to what the leader held when it was last asked."""
        return all(room.phase is Phase.LIVE and room.verify_at > 0.0 for room in self._rooms.values())

    @property
    def suspended(self) -> bool:
        return self._suspended

    def suspend(self) -> None:
        self._suspended = True
        for room in self._rooms.values():
            self._flush(room)
            if room.phase is not Phase.ENDED:
                room.phase = Phase.SUSPENDED

    def resume(self) -> None:
        """Rights were read again: deliver what was missed."""
        self._suspended = False
        for room in tuple(self._rooms.values()):
            if room.phase is Phase.SUSPENDED:
                room.held.clear()
                self._begin_filling(room, None)

    def end_partition(self, partition: int) -> None:
        """The partition's order starts anew: everybody subscribes again."""
        for room in tuple(self._rooms.values()):
            if room.partition == partition:
                self._end(room, "the order of this room starts anew; subscribe again")

    async def _open(self, name: str) -> Room:
        partition = self._log.partition_of(name)
        room = Room(name, partition)
        room.subscription = await self._live.follow(name, lambda message: self._receive(room, message))
        try:
            epoch = self._epoch_of(partition)
            last = await self._log.last(name)
            cursor = Cursor(epoch, 0)
            if last is not None:
                envelope = self._decode(room.name, last.data, last.seq)
                cursor = Cursor(epoch, last.seq) if envelope is None else cursor_of(envelope, epoch, last.seq)
            room.begin(epoch, cursor)
            if last is None:
                room.headless = True
                await self._find_head(room)
            if self._epoch_of(partition) != epoch:
                # Rooms that are being opened are not among those that a new epoch ends.
                raise Unavailable(f"room {name}: its order started anew while it was being opened")
        except BaseException:
            await room.subscription.close()
            raise
        room.idle_since = self._monotonic()
        room.verify_at = room.idle_since + self._settings.verify_soon_s
        room.phase = Phase.LIVE
        self._rooms[name] = room
        self._report.rooms(len(self._rooms))
        if self._suspended:
            room.phase = Phase.SUSPENDED
        elif not self._drain_held(room):
            room.phase = Phase.FILLING
            self._tasks.spawn(self._fill(room, None), f"fill-{name}")
        return room

    async def _find_head(self, room: Room) -> None:
        """Where history says that the room ends; without MongoDB it stays unknown until the next event."""
        try:
            head = await self._history.head(room.name)
        except HistoryAway:
            return
        room.headless = False
        if head is not None and head.epoch == room.epoch and room.reached == 0:
            room.begin(room.epoch, head)

    def _receive(self, room: Room, message: LiveMessage) -> None:
        if room.phase is Phase.ENDED:
            return
        if not self._suspended and self._cut_off():
            self.suspend()
        if message.seq == 0:
            if room.phase in (Phase.LIVE, Phase.FILLING):
                self._flush(room)
                room.pass_on(self._frame(message.data))
            return
        if room.phase is not Phase.LIVE:
            if room.phase is not Phase.SUSPENDED:
                self._hold(room, message)
            return
        verdict = room.judge(message)
        if verdict is Verdict.NEXT and self._deliver(room, message.seq, message.data, self._wall_ms()):
            return
        if verdict is not Verdict.STALE:
            self._hold(room, message)
            self._begin_filling(room, message.prev)

    def _hold(self, room: Room, message: LiveMessage) -> None:
        try:
            room.hold(message)
        except TooFarBehind as error:
            self._end(room, str(error))

    def _deliver(self, room: Room, seq: int, data: bytes, stored_ms: int) -> bool:
        """False where it has to be looked up first whether this is a second copy."""
        envelope = self._decode(room.name, data, seq)
        void = room.late.pop(seq, None)
        if envelope is None or void:
            room.reached = seq
            return True
        if void is None and is_late(envelope, stored_ms):
            return False
        trace = self._tracing.begin(Step.DELIVER, envelope.traceparent)
        event = event_of(envelope, epoch=room.epoch, seq=seq, prev=room.last, sealer=self._sealer)
        framed = self._frame(encode_frame(event))
        if room.deliver(cursor_of(envelope, room.epoch, seq), framed):
            asyncio.get_running_loop().call_soon(self._flush, room)
        elif room.brimming:
            self._flush(room)
        trace.end()
        return True

    def _flush(self, room: Room) -> None:
        written = room.flush()
        if written:
            self._report.delivered(written)

    def _decode(self, name: str, data: bytes, seq: int) -> Envelope | None:
        try:
            return decode_envelope(data)
        except msgspec.DecodeError as error:
            self._report.unreadable()
            logger.error("room %s: stored event %d cannot be read and is passed over: %s", name, seq, error)  # noqa: TRY400
            return None

    def _drain_held(self, room: Room) -> bool:
        """Deliver what was held; False where it shows another gap, or what has to be looked up."""
        while room.held:
            verdict = room.judge(room.held[0])
            if verdict is Verdict.GAP:
                return False
            message = room.held[0]
            if verdict is Verdict.NEXT and not self._deliver(room, message.seq, message.data, self._wall_ms()):
                return False
            room.held.popleft()
        return True

    def _begin_filling(self, room: Room, end: int | None) -> None:
        self._report.gap()
        room.phase = Phase.FILLING
        self._tasks.spawn(self._fill(room, end), f"fill-{room.name}")

    async def _fill(self, room: Room, end: int | None) -> None:
        """Fetch up to ``end`` (None: the leader's last) and all that is held, then go live."""
        pause = _RETRY_S
        while True:
            try:
                missing, goal = await self._gaps.fetch(room, end)
            except Unavailable as error:
                logger.warning("room %s: cannot fetch what is missing after %d: %s", room.name, room.reached, error)
                await asyncio.sleep(pause)
                pause = min(_RETRY_MAX_S, pause * 2)
                continue
            if not room.filling:
                return
            if missing is None:
                self._end(room, f"more than {GAP_MAX} events were missed; subscribe again")
                return
            for stored in missing:
                if stored.seq > room.reached:
                    self._deliver(room, stored.seq, stored.data, stored.ts)
            room.reached = max(room.reached, goal)
            end = room.reached
            if self._drain_held(room):
                room.late.clear()
                room.phase = Phase.LIVE
                if room.verify_at > 0.0:  # else somebody wants it checked, for something that happened meanwhile
                    room.verify_at = self._monotonic() + self._settings.verify_s

    def _end(self, room: Room, message: str) -> None:
        self._flush(room)
        room.phase = Phase.ENDED
        self._rooms.pop(room.name, None)
        self._report.rooms(len(self._rooms))
        logger.warning("room %s ended on this node: %s", room.name, message)
        for follower in tuple(room.followers):
            follower.ended(room.name, ErrorCode.UNAVAILABLE, message, retryable=True)
        room.followers.clear()
        self._tasks.spawn(self._close(room), f"close-{room.name}")

    async def _close(self, room: Room) -> None:
        room.phase = Phase.ENDED
        if self._rooms.get(room.name) is room:
            del self._rooms[room.name]
            self._report.rooms(len(self._rooms))
        room.held.clear()
        if room.subscription is not None:
            await room.subscription.close()
            room.subscription = None

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            self._beat()
            now = self._monotonic()
            for room in tuple(self._rooms.values()):
                if room.idle_since is not None and now - room.idle_since >= self._settings.linger_s:
                    await self._close(room)
            due = [room for room in self._rooms.values() if room.verify_at <= now and room.phase is Phase.LIVE]
            for start in range(0, len(due), _VERIFY_AT_ONCE):
                group = due[start : start + _VERIFY_AT_ONCE]
                for room in group:
                    # Before asking: who wants it checked meanwhile, for something that happened meanwhile, gets it.
                    room.verify_at = now + self._settings.verify_s
                results = await asyncio.gather(*(self.verify(room) for room in group), return_exceptions=True)
                for room, result in zip(group, results, strict=True):
                    if isinstance(result, Unavailable):
                        logger.warning("room %s was not verified: %s", room.name, result)
                        room.verify_at = 0.0
                    elif isinstance(result, BaseException):
                        raise result
