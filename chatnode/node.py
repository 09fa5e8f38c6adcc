"""One node, wired: everything that a node is made of is constructed here and nowhere else."""

import asyncio
import logging
import math
import random
import secrets
import time
from typing import Final

from chatnode import __version__
from chatnode.broker.connection import Client, lost_messages, watch_elections
from chatnode.broker.control import ControlFeed, ControlStore
from chatnode.broker.direct import DirectReader
from chatnode.broker.epochs import Epochs
from chatnode.broker.gossip import GossipLink
from chatnode.broker.live import CoreLiveFeed
from chatnode.broker.publish import Publisher
from chatnode.broker.room_log import StreamRoomLog
from chatnode.broker.subjects import CONTROL_STREAM, PARTITIONS, stream_name
from chatnode.history.client import Mongo
from chatnode.history.progress import Ledger
from chatnode.history.reader import MongoHistory
from chatnode.history.receipts import MongoReceipts
from chatnode.history.rights import MongoRights
from chatnode.protocol.codec import encode_frame
from chatnode.protocol.control import ControlEvent
from chatnode.protocol.errors import ErrorCode
from chatnode.protocol.events import WholeEvent
from chatnode.protocol.sealing import PlainSealer
from chatnode.rooms.catchup import CatchUp
from chatnode.rooms.gate import Gate
from chatnode.rooms.hub import Hub, HubReport, HubSettings
from chatnode.rooms.outage import HistoryOutage, WatchedHistory
from chatnode.rooms.ports import HistoryAway, StreamMissing, Unavailable
from chatnode.rooms.posting import Poster, PostReport
from chatnode.rooms.presence import BEAT_S, PresenceBook
from chatnode.rooms.receipts import Receipts
from chatnode.rooms.rights import Rights
from chatnode.rooms.stored import LookUps
from chatnode.rooms.tasks import TaskOwner
from chatnode.session.admission import Admission
from chatnode.session.core import SessionLimits
from chatnode.session.stillness import Stillness
from chatnode.settings import Settings
from chatnode.telemetry.metrics import NodeMetrics, by_label
from chatnode.telemetry.traces import Tracing
from chatnode.transports.departure import Departure
from chatnode.transports.desk import Clocks, Desk, Services, TokenVerifier
from chatnode.transports.driver import Driver
from chatnode.transports.hearing import Hearing
from chatnode.transports.steered import TURN_S, SteeredNode
from chatnode.transports.websocket.channel import Channel, Refusal
from chatnode.transports.websocket.frames import frame_text
from chatnode.transports.websocket.host import SocketHost

logger = logging.getLogger(__name__)

_PRESENCE_S: Final = 0.5
_EPOCHS_S: Final = 10.0
_HEAR_S: Final = 2.0


def wall_ms() -> int:
    return time.time_ns() // 1_000_000


class Node:
    """Constructed over open connections. ``start`` brings it up, ``steered.drain`` empties it, ``stop`` ends it."""

    def __init__(
        self,
        settings: Settings,
        *,
        client: Client,
        mongo: Mongo,
        verifier: TokenVerifier,
        host: SocketHost,
        metrics: NodeMetrics,
        tracing: Tracing,
    ) -> None:
        self.settings = settings
        self.metrics = metrics
        self.verifier = verifier
        self._client = client
        self._host = host
        self._tasks = TaskOwner()
        self._started = False
        self._connects = Admission(settings.connects_per_s, settings.connects_burst, host.timers.time())
        clock = host.timers.time
        sealer = PlainSealer()
        self.reader = DirectReader(client)
        outage = self._outage = HistoryOutage()
        self.history = WatchedHistory(MongoHistory(mongo.database, sealer), outage)
        self._ledger = Ledger(mongo.database)
        self._rights_reader = MongoRights(mongo.database)
        self.rights = Rights(self._rights_reader)
        self.epochs = Epochs(self.reader, self._epoch_raised)
        log = StreamRoomLog(self.reader)
        live = CoreLiveFeed(client)
        stillness = Stillness(clock)
        self.hub = Hub(
            log=log,
            live=live,
            history=self.history,
            sealer=sealer,
            epoch_of=self.epochs.of,
            frame=frame_text,
            monotonic=clock,
            wall_ms=wall_ms,
            settings=HubSettings(linger_s=settings.room_linger_s),
            beat=stillness.beat,
            report=HubReport(
                delivered=metrics.deliveries.inc,
                gap=metrics.gaps_found.labels("live").inc,
                rooms=metrics.rooms_open.set,
            ),
            tracing=tracing,
            cut_off=lambda: self.feed.suspended(),  # noqa: PLW0108  the feed is made further down
        )
        self.catch_up = CatchUp(
            log=log, history=self.history, sealer=sealer, epoch_of=self.epochs.of, frame=frame_text, outage=outage
        )
        self.publisher = Publisher(
            client,
            batch_max=settings.batch_max,
            queue_max=settings.batch_waiting_max,
            draw_id=lambda: secrets.token_hex(12),
            observe_batch=metrics.batch_messages.observe,
            fell_back=metrics.batch_fallbacks.inc,
            timeout=settings.publish_timeout_s,
            epoch_of=self.epochs.of,
        )
        self.control = ControlStore(client, self.reader, clock=clock)
        self.feed = ControlFeed(
            client,
            self.reader,
            self.control,
            node=settings.node_id,
            applied=self._read_applied,
            deliver=self._control,
            projected=self.rights.projected,
            reread=self.rights.reload_all,
            suspend_after=settings.suspend_after_s,
            clock=clock,
            wall=wall_ms,
        )
        self.poster = Poster(
            publisher=self.publisher,
            look_ups=LookUps(log, self.history, self.epochs.of),
            rights=self.rights,
            sealer=sealer,
            monotonic=clock,
            wall_ms=wall_ms,
            stillness=stillness,
            report=PostReport(
                refused=by_label(metrics.refused),
                published=by_label(metrics.published),
                acked=self._acked,
                duplicate=metrics.duplicates.inc,
                unconfirmed=metrics.unconfirmed.inc,
            ),
            tracing=tracing,
        )
        self.presence = PresenceBook(settings.node_id, secrets.token_hex(8))
        self._gossip = GossipLink(client)
        self.receipts = Receipts(MongoReceipts(mongo.database), live.pass_on)
        self.desk = Desk(
            Services(
                node=settings.node_id,
                version=__version__,
                verifier=verifier,
                rights=self.rights,
                hub=self.hub,
                catch_up=self.catch_up,
                history=self.history,
                poster=self.poster,
                receipts=self.receipts,
                presence=self.presence,
                live=live,
                clocks=Clocks(clock, wall_ms),
                session_limits=SessionLimits(
                    rate_per_s=settings.command_rate_per_s,
                    burst=settings.command_burst,
                    rooms=settings.rooms_per_connection,
                ),
                suspended=self.feed.suspended,
                delayed=lambda: self.hearing.delayed,
                draw_id=lambda: secrets.token_urlsafe(12),
                raise_epoch=self.epochs.raise_to,
                hear_control=self.hear_control,
                joining=Gate("catching up", at_once=settings.joins_at_once, waiting_max=settings.joins_waiting_max),
                commanded=by_label(metrics.commands),
                recovered=lambda whole: metrics.recoveries.labels(str(whole).lower()).inc(),
            ),
            host.timers,
        )
        self.hearing = Hearing(
            self.hub,
            self.desk,
            silent_for=lambda: self.feed.silent_for,
            suspended=self.feed.suspended,
            suspend_after_s=settings.suspend_after_s,
            keep_s=settings.socket_keep_s,
        )
        self.departure = Departure(self.desk, random.Random(secrets.randbits(64)))  # noqa: S311  spread, not secrecy
        self.steered = SteeredNode(
            settings, self.desk, self.departure, host.counts, suspended=self.feed.suspended, peers=self.presence.peers
        )
        metrics.draining.set_function(lambda: self.departure.stance == "draining")
        metrics.users_online.set_function(lambda: self.desk.users)
        metrics.subscriptions.set_function(lambda: sum(len(room.followers) for room in self.hub.rooms()))

    def unready(self) -> list[str]:
        """Why no client should be sent here; empty: ready."""
        reasons: list[str] = []
        if self.departure.stance != "serving":
            reasons.append("draining")
        if not self._started:
            reasons.append("starting")
        elif self.feed.suspended():
            reasons.append(f"control was not heard for {self.feed.silent_for:.0f} s")
        if not self._client.is_connected:
            reasons.append("NATS is away")
        return reasons

    def admit(self) -> Refusal | None:
        """The Acceptor's first question, for each handshake."""
        if self.departure.stance == "draining":
            return Refusal(ErrorCode.UNAVAILABLE, "this node is going away; connect again", retry_after=1)
        if self._host.counts.open >= self.settings.max_connections:
            return Refusal(ErrorCode.UNAVAILABLE, "this node is full; connect again", retry_after=5)
        if self.feed.suspended():
            return Refusal(ErrorCode.UNAVAILABLE, "this node is cut off; connect again", retry_after=2)
        wait = self._connects.ask(self._host.timers.time())
        if wait:
            many = "many connect right now; connect again when it is your turn"
            return Refusal(ErrorCode.UNAVAILABLE, many, retry_after=math.ceil(wait))
        return None

    def accept(self, channel: Channel) -> Driver:
        driver = Driver(self.desk, channel)
        driver.watch()
        return driver

    async def start(self) -> None:
        """Returns when streams are known and control is followed; :class:`Unavailable` where a source is away."""
        await self.reader.start()
        await self.epochs.refresh()
        if not self.epochs.known:
            raise Unavailable("the streams do not exist yet; is a worker running?")
        for partition in range(PARTITIONS):
            # A worker gives an epoch out in MongoDB first, then tells it, and writes it to the stream last.
            self.epochs.raise_to(partition, await self._ledger.epoch(stream_name(partition)))
        await self.feed.start()
        self.publisher.start()
        self.hub.start()
        await self._gossip.listen(lambda message: self.presence.hear(message, self._host.timers.time()))
        await watch_elections(self._client, self._elected)
        for name, work in (
            ("guard", self._guard),
            ("presence", self._tell_presence),
            ("epochs", self._watch_epochs),
            ("receipts", self.receipts.run),
        ):
            self._tasks.spawn(work(), name)
        self._started = True

    async def stop(self) -> None:
        """End everything, in the order in which nothing that was acked can be lost."""
        await self.publisher.stop(self.settings.publish_timeout_s)
        await self._tasks.stop()
        await self.desk.stop()
        await self.poster.stop()
        await self.receipts.flush()
        await self._gossip.tell(self.presence.bye())
        await self.hub.stop()
        await self.feed.stop()
        await self.rights.aclose()
        await self.reader.stop()

    async def nats_returned(self) -> None:
        """After a reconnect nothing is taken for granted."""
        self.metrics.nats_reconnects.inc()
        self.feed.verify()
        self.hub.verify_all()
        self._tasks.spawn(self._refresh_epochs(), "epochs-after-reconnect")

    async def nats_error(self, error: Exception) -> None:
        if lost_messages(error):
            self.metrics.nats_slow_consumer.inc()
            self.feed.verify()
            self.hub.verify_all()
        logger.warning("NATS: %r", error)

    async def hear_control(self) -> None:
        """Returns when every control event that was stored before the call has been applied here, or after a while."""
        try:
            state = await self.reader.state(CONTROL_STREAM)
        except StreamMissing as error:
            raise Unavailable(str(error)) from error
        await self.feed.reach(state.last, _HEAR_S)

    async def _read_applied(self) -> int:
        """Read each second, and so what tells whether MongoDB is there."""
        try:
            applied = await self._rights_reader.control_applied()
        except HistoryAway:
            if not self._outage.away:
                logger.warning("MongoDB is away: pages are what the streams hold")
            self._outage.began()
            raise
        if self._outage.away:
            logger.warning("MongoDB is back")
        for name in self._outage.ended():
            room = self.hub.room(name)
            if room is not None:
                self.hub.pass_on(room, encode_frame(WholeEvent(room=name)))
        return applied

    def _acked(self, seconds: float) -> None:
        self.metrics.acked.inc()
        self.metrics.publish_seconds.observe(seconds)

    def _control(self, seq: int, event: ControlEvent) -> None:
        self.desk.apply(seq, event)

    def _epoch_raised(self, partition: int) -> None:
        self.hub.end_partition(partition)

    def _elected(self) -> None:
        self.feed.verify()
        self.hub.verify_all()

    async def _refresh_epochs(self) -> None:
        try:
            await self.epochs.refresh()
        except Unavailable as error:
            logger.info("epochs were not read: %s", error)

    async def _watch_epochs(self) -> None:
        while True:
            await asyncio.sleep(_EPOCHS_S)
            await self._refresh_epochs()

    async def _guard(self) -> None:
        """What is looked at four times a second."""
        now = self._host.timers.time()
        while True:
            due = now + TURN_S
            await asyncio.sleep(TURN_S)
            now = self._host.timers.time()
            late = max(0.0, now - due)
            self.metrics.loop_lag_seconds.observe(late)
            self.steered.ran_late(late)
            self.departure.step(now)
            self.metrics.suspended.set(self.feed.suspended())
            self.metrics.control_heard_age_seconds.set(self.feed.silent_for)
            self.metrics.nats_connected.set(self._client.is_connected)
            self.hearing.step(now)

    async def _tell_presence(self) -> None:
        beat_at = 0.0
        while True:
            await asyncio.sleep(_PRESENCE_S)
            now = self._host.timers.time()
            self.presence.expire(now)
            delta = self.presence.delta()
            if delta is not None:
                await self._gossip.tell(delta)
            if now >= beat_at:
                beat_at = now + BEAT_S
                await self._gossip.tell(self.presence.beat())
            self.desk.announce_presence()
