"""Control events over NATS: storing them in ``CTRL``, and hearing every one of them once and in order.

The feed listens to what the server republishes and reads from the stream what it missed. Each second it stores a
heartbeat (one a second over all nodes, by its message id) and takes the acknowledged sequence as what it has to have
delivered: so a loss without a following event, a slow reader and a dead connection are all noticed.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from chatnode.broker.acks import decode_ack
from chatnode.broker.connection import AWAY
from chatnode.broker.direct import DirectReader
from chatnode.broker.subjects import CONTROL_STREAM, CONTROL_SUBJECTS, live_control_subject
from chatnode.identity.control import ControlTail, Numbered
from chatnode.protocol.control import ControlEvent, Heartbeat, control_subject, decode_control, encode_control
from chatnode.protocol.errors import ErrorCode, ProtocolError
from chatnode.rooms.ports import Accepted, StreamMissing, Unavailable

log = logging.getLogger(__name__)

HEARTBEAT_S: Final = 1.0
_BEAT_TIMEOUT_S: Final = 2.0
_PATIENCE_S: Final = 0.25
"""How long an event that is known to be stored may take to arrive by itself before it is fetched."""
_RETRY_S: Final = 0.1
_PAGE: Final = 256
_PENDING_MESSAGES: Final = 65_536
_PENDING_BYTES: Final = 64 * 1024 * 1024
_FLUSH_S: Final = 5


class ControlStore:
    """The implementation of :class:`chatnode.rooms.ports.ControlPublisher`; ``clock`` gives monotonic seconds."""

    def __init__(
        self,
        client: Client,
        reader: DirectReader,
        *,
        clock: Callable[[], float],
        attempt_s: float = 2.0,
        deadline_s: float = 5.0,
    ) -> None:
        self._client = client
        self._reader = reader
        self._clock = clock
        self._attempt_s = attempt_s
        self._deadline_s = deadline_s

    async def publish_control(self, event: ControlEvent) -> int:
        """As the port says; tried again under the same id for ``deadline_s``, then :class:`Unavailable` (it may be
        stored). An id that names a different event already is refused with ``id_reused``."""
        accepted = await self._persist(event)
        if accepted.duplicate:
            await self._compare(event, accepted.seq)
        return accepted.seq

    async def store(self, event: ControlEvent, within: float) -> Accepted:
        """One attempt of at most ``within`` seconds."""
        headers = {"Nats-Msg-Id": event.id, "Nats-Expected-Stream": CONTROL_STREAM}
        subject = control_subject(event)
        try:
            answer = await self._client.request(subject, encode_control(event), timeout=within, headers=headers)
        except AWAY as error:
            raise Unavailable(f"storing {subject}: NATS does not answer ({type(error).__name__})") from error
        ack = decode_ack(answer.data)
        if ack.error is not None:
            raise Unavailable(f"storing {subject}: {ack.error.description} ({ack.error.err_code})")
        return Accepted(ack.seq, ack.duplicate)

    async def _persist(self, event: ControlEvent) -> Accepted:
        deadline = self._clock() + self._deadline_s
        while True:
            remaining = deadline - self._clock()
            try:
                return await self.store(event, max(0.1, min(self._attempt_s, remaining)))
            except Unavailable:
                if self._clock() + _RETRY_S >= deadline:
                    raise
            await asyncio.sleep(_RETRY_S)

    async def _compare(self, event: ControlEvent, seq: int) -> None:
        stored = await self._reader.at(CONTROL_STREAM, seq)
        if stored is None:
            return
        held = _decode(stored.data, seq)
        if held is None or msgspec.structs.replace(held, ts=event.ts) != event:
            raise ProtocolError(ErrorCode.ID_REUSED, f"{event.id!r} names another change already (control {seq})")


class ControlFeed:
    """Delivers every control event after the projections' watermark, once and in order, by ``deliver(seq, event)``.

    ``applied`` reads that watermark (it may raise Unavailable) and ``projected`` is told of it; ``reread`` reads all
    rights again, before a suspension ends. ``deliver`` and ``projected`` are called synchronously. ``clock`` gives
    monotonic seconds, ``wall`` milliseconds since 1970.
    """

    def __init__(
        self,
        client: Client,
        reader: DirectReader,
        store: ControlStore,
        *,
        node: str,
        applied: Callable[[], Awaitable[int]],
        deliver: Callable[[int, ControlEvent], None],
        projected: Callable[[int], None],
        reread: Callable[[], Awaitable[None]],
        suspend_after: float,
        clock: Callable[[], float],
        wall: Callable[[], int],
    ) -> None:
        self._client = client
        self._reader = reader
        self._store = store
        self._node = node
        self._applied = applied
        self._deliver = deliver
        self._projected = projected
        self._reread = reread
        self._clock = clock
        self._wall = wall
        self._tail = ControlTail(suspend_after=suspend_after)
        self._ready: deque[Numbered] = deque()
        self._beat_now = asyncio.Event()
        self._fill_now = asyncio.Event()
        self._waiters: set[tuple[int, asyncio.Future[None]]] = set()
        self._subscription: Subscription | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._before_last_beat = 0

    @property
    def position(self) -> int:
        return self._tail.position

    @property
    def silent_for(self) -> float:
        """Seconds since the last moment of which every control event is known here; infinite before the first."""
        return self._tail.silent_for(self._clock())

    def suspended(self) -> bool:
        """Whether this node must neither deliver nor accept, because it may not know of a right that ended."""
        return self._tail.suspended(self._clock())

    async def start(self) -> None:
        """Begin to listen; the node stays suspended until it has heard everything. Unavailable when it cannot begin."""
        position = await self._applied()
        self._tail.start(position)
        self._projected(position)
        try:
            self._subscription = await self._client.subscribe(
                live_control_subject(CONTROL_SUBJECTS),
                cb=self._on_message,
                pending_msgs_limit=_PENDING_MESSAGES,
                pending_bytes_limit=_PENDING_BYTES,
            )
            await self._client.flush(_FLUSH_S)
        except AWAY as error:
            raise Unavailable(f"following control events: NATS does not answer ({type(error).__name__})") from error
        self._tasks = [
            asyncio.create_task(run(), name=name)
            for name, run in (
                ("control-beat", self._beat_forever),
                ("control-fill", self._fill_forever),
                ("control-watermark", self._watch_projection),
            )
        ]
        for task in self._tasks:
            task.add_done_callback(_report)

    async def stop(self) -> None:
        running = {task for task in self._tasks if not task.done()}
        while running:
            # asyncio.wait_for of Python 3.11, inside nats-py, swallows a cancellation that meets its result.
            for task in running:
                task.cancel()
            _, running = await asyncio.wait(running, timeout=_RETRY_S)
        for _, waiter in self._waiters:
            waiter.cancel()
        if self._subscription is not None and not self._client.is_closed:
            try:
                await self._subscription.unsubscribe()
            except AWAY as error:
                log.debug("leaving control events while NATS is away: %r", error)

    def verify(self) -> None:
        """Ask now whether everything was heard: after a reconnect, a slow consumer, a new leader."""
        self._beat_now.set()

    async def reach(self, seq: int, within: float) -> bool:
        """Whether everything up to ``seq`` was delivered within ``within`` seconds."""
        if self._tail.position >= seq:
            return True
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (seq, waiter)
        self._waiters.add(entry)
        try:
            async with asyncio.timeout(within):
                done, _ = await asyncio.wait((waiter,), timeout=_PATIENCE_S)
                if not done:
                    self._tail.known(seq)
                    self._fill_now.set()
                await waiter
        except TimeoutError:
            return False
        finally:
            self._waiters.discard(entry)
        return True

    async def _on_message(self, message: Msg) -> None:
        headers = message.headers
        if headers is None or "Nats-Sequence" not in headers:
            return
        seq = int(headers["Nats-Sequence"])
        self._take(self._tail.offer(seq, _decode(message.data, seq), self._clock()))
        if self._tail.missing is not None:
            self._fill_now.set()

    def _take(self, events: list[Numbered]) -> None:
        """Delivers through a queue, so that a listener's error costs that listener's event and no other."""
        self._ready.extend(events)
        while self._ready:
            seq, event = self._ready.popleft()
            if event is not None:
                self._deliver(seq, event)
        for seq, waiter in tuple(self._waiters):
            if seq <= self._tail.position and not waiter.done():
                waiter.set_result(None)

    async def _beat_forever(self) -> None:
        while True:
            try:
                await self._beat()
            except Unavailable as error:
                log.info("control is not heard for %.1f s: %s", self.silent_for, error)
            try:
                async with asyncio.timeout(HEARTBEAT_S):
                    await self._beat_now.wait()
            except TimeoutError:
                continue
            self._beat_now.clear()

    async def _beat(self) -> None:
        asked_at, second, position = self._clock(), self._wall() // 1000, self._tail.position
        age = 0.0
        accepted = await self._store.store(self._heartbeat(f"hb-{second}"), _BEAT_TIMEOUT_S)
        if accepted.duplicate and accepted.seq <= self._before_last_beat:
            # Another node's clock is ahead: this second's heartbeat was stored long ago and proves nothing about now.
            asked_at = self._clock()
            accepted = await self._store.store(self._heartbeat(f"hb-{second}-{self._node}"), _BEAT_TIMEOUT_S)
        if accepted.duplicate:
            age = HEARTBEAT_S
        elif accepted.seq <= position:
            log.error("CTRL went back: it stored %d after %d had been heard", accepted.seq, position)
            self._tail.rewind(accepted.seq - 1)
        self._before_last_beat = position
        self._tail.proved(accepted.seq, asked_at - age, self._clock())
        self._fill_now.set()

    def _heartbeat(self, name: str) -> Heartbeat:
        return Heartbeat(id=name, actor=self._node, ts=self._wall())

    async def _fill_forever(self) -> None:
        while True:
            await self._fill_now.wait()
            self._fill_now.clear()
            try:
                await self._fill()
                await self._resume()
            except (Unavailable, StreamMissing) as error:
                log.info("catching up with control events: %s", error)
                await asyncio.sleep(_RETRY_S)

    async def _fill(self) -> None:
        """Fetch until nothing is known to be missing; what is merely on its way gets a moment to arrive first."""
        if self._tail.missing is not None and self._tail.end - self._tail.position < _PAGE:
            await asyncio.sleep(_RETRY_S)
        while (missing := self._tail.missing) is not None:
            end = self._tail.end
            messages, _ = await self._reader.after(CONTROL_STREAM, CONTROL_SUBJECTS, missing - 1, _PAGE)
            events: list[Numbered] = [(message.seq, _decode(message.data, message.seq)) for message in messages]
            self._take(self._tail.fetched(events, self._clock()))
            if not messages:
                await self._explain(missing, end)

    async def _explain(self, missing: int, end: int) -> None:
        """No replica gave anything from ``missing`` on: it was purged, the stream went back, or a replica lags.

        That it went back is not believed to a state, which a leader that was paused tells as of then, but to where the
        next heartbeat is stored, for which it needs a quorum.
        """
        state = await self._reader.state(CONTROL_STREAM)
        if state.last < missing - 1:
            self._beat_now.set()
            await asyncio.sleep(_RETRY_S)
        elif state.first > missing:
            log.warning("control events %d to %d were purged before they were heard", missing, state.first - 1)
            self._take(self._tail.skip(min(state.first - 1, end), self._clock()))
        else:
            await asyncio.sleep(_RETRY_S)

    async def _resume(self) -> None:
        suspension = self._tail.reread_due(self._clock())
        if suspension is None:
            return
        await self._reread()
        self._tail.reread(suspension)
        log.info("control is heard up to %d", self._tail.position)

    async def _watch_projection(self) -> None:
        while True:
            try:
                self._projected(await self._applied())
            except Unavailable as error:
                log.debug("how far control events are projected is not known: %s", error)
            await asyncio.sleep(HEARTBEAT_S)


def _decode(data: bytes, seq: int) -> ControlEvent | None:
    try:
        return decode_control(data)
    except msgspec.DecodeError:
        log.exception("control event %d cannot be read; it is passed over", seq)
        return None


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.critical("%s ended; the node will suspend itself", task.get_name(), exc_info=task.exception())
