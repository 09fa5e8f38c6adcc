"""Rules taken out one at a time, on the real classes, to see that the simulation says no.

Each mutation names the rule of ARCHITECTURE §2 or §3 that it breaks; :func:`applied` puts it in place for a while.
"""

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import chatnode.broker.publish
import chatnode.rooms.catchup
import chatnode.rooms.gaps
import chatnode.rooms.hub
import chatnode.rooms.room
import chatnode.rooms.stored
import chatnode.rooms.tail
from chatclient.following import Following
from chatclient.following import Verdict as Seen
from chatclient.outbox import WINDOW, Outbox
from chatnode.broker.acks import PubAck, decode_ack
from chatnode.broker.direct import DirectReader
from chatnode.broker.publish import Publisher
from chatnode.history import folds, writer
from chatnode.node import Node
from chatnode.protocol.cursors import Cursor
from chatnode.protocol.errors import ErrorCode
from chatnode.rooms.catchup import CatchUp
from chatnode.rooms.chain import Verdict
from chatnode.rooms.hub import Hub
from chatnode.rooms.ports import Accepted, NotStored, Stored, Unknown, Watermark
from chatnode.rooms.posting import Poster, Posting
from chatnode.rooms.refusals import refusal
from chatnode.rooms.room import Phase, Room
from chatnode.rooms.stored import LookUps, Sought
from chatnode.session.lanes import Lanes
from chatnode.session.stillness import Stillness
from chatnode.transports.desk import Desk
from chatnode.worker.stream import StreamWorker
from tests.simulation.virtual_time import Stuck

Patch = tuple[Any, str, Any]


@dataclass(frozen=True)
class Mutation:
    name: str
    rule: str
    patches: Callable[[], Sequence[Patch]]


@contextlib.contextmanager
def applied(mutation: Mutation) -> Iterator[None]:
    before = [(owner, name, owner.__dict__[name]) for owner, name, _ in mutation.patches()]
    for owner, name, value in mutation.patches():
        setattr(owner, name, value)
    try:
        yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)


def _no_look_up() -> Sequence[Patch]:
    async def seek(self: LookUps, room: str, user: str, commands: Sequence[str]) -> Sought:
        sought = Sought(room, user, commands, self.epoch(room))
        await go_on(self, sought)
        return sought

    async def go_on(self: LookUps, sought: Sought) -> None:
        last = await self._log.last(sought.room)
        sought.read((), sought.upto if last is None else last.seq)

    return [(LookUps, "seek", seek), (LookUps, "go_on", go_on)]


def _only_database() -> Sequence[Patch]:
    async def nothing(*_args: object) -> list[Stored]:
        return []

    return [(chatnode.rooms.stored, "tail_of", nothing)]


def _no_expected_sequence() -> Sequence[Patch]:
    async def store(self: Publisher, *args: Any) -> Any:
        return await self._store_one(*args[:-1])

    return [(Publisher, "_store_expecting", store)]


def _ack_before_storage() -> Sequence[Patch]:
    original = Publisher._store_one

    async def store(self: Publisher, *args: Any) -> Any:
        outcome = await original(self, *args)
        return Accepted(10**6) if isinstance(outcome, Unknown) else outcome

    return [(Publisher, "_store_one", store)]


def _in_process_is_stored() -> Sequence[Patch]:
    original = decode_ack

    def decode(data: bytes) -> PubAck:
        ack = original(data)
        return PubAck(seq=10**6) if ack.error is not None and ack.error.err_code == 10158 else ack

    return [(chatnode.broker.publish, "decode_ack", decode)]


def _copies_count_in_history() -> Sequence[Patch]:
    def settle(epoch: int, entries: Any, claims: Any) -> folds.Settlement:
        return folds.Settlement(tuple(entries), (), ())

    return [(writer, "settle", settle)]


def _never_late(*_args: object) -> bool:
    return False


def _copies_count_in_pages() -> Sequence[Patch]:
    original = CatchUp._tail

    async def tail(self: CatchUp, room: str, epoch: int, start: int, end: int) -> Any:
        stored = await self._log.upto(room, start, end, 5000)
        return self._events(stored or [], epoch, start)

    assert original is not None
    return [(CatchUp, "_tail", tail), (chatnode.rooms.catchup, "is_late", _never_late)]


def _copies_count_live() -> Sequence[Patch]:
    return [
        (chatnode.rooms.hub, "is_late", _never_late),
        (chatnode.rooms.gaps, "is_late", _never_late),
        (Following, "judge", _judge_without_seen),
    ]


def _judge_without_seen(self: Following, event: Any) -> Seen:
    seen, self._seen = self._seen, {}
    try:
        return _JUDGE(self, event)
    finally:
        self._seen = seen


_JUDGE: Final = Following.judge


def _lanes_off() -> Sequence[Patch]:
    return [(Lanes, "passes", lambda self, room, command, now: True)]


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


async def _nothing_between(*_args: object) -> list[Any]:
    """The leader, who is asked what lies between, covers what ranges leave out: it is left out with them."""
    return []


def _believe_the_end() -> Sequence[Patch]:
    async def upto(self: DirectReader, stream: str, subject: str, seq: int, end: int, limit: int) -> Any:
        found: list[Any] = []
        position = seq
        while position < end:
            messages, _ = await self.after(stream, subject, position, min(256, limit + 1))
            found.extend(message for message in messages if message.seq <= end)
            if not messages:
                break
            position = messages[-1].seq
        return found

    return [(DirectReader, "upto", upto), (DirectReader, "_between", _nothing_between)]


def _believe_the_answer() -> Sequence[Patch]:
    async def upto(self: DirectReader, stream: str, subject: str, seq: int, end: int, limit: int) -> Any:
        if seq >= end:
            return []
        messages, _ = await self.after(stream, subject, seq, min(256, limit + 1))
        return [message for message in messages if message.seq <= end]

    return [(DirectReader, "upto", upto), (DirectReader, "_between", _nothing_between)]


def _no_care_after_a_stop() -> Sequence[Patch]:
    return [(Stillness, "lately", lambda self: False)]


def _publishing_late() -> Sequence[Patch]:
    """As it was: what began as a first attempt stays one, however long it takes."""

    def payload(self: Posting) -> Any:
        self._began = self._poster.monotonic()
        return original(self)

    original = Posting.payload
    return [(Posting, "payload", payload)]


def _put_off_checks() -> Sequence[Patch]:
    """As it was: who was asked to check a room while it fills does so when the next regular check is due."""
    original = Hub._fill

    async def fill(self: Hub, room: Room, end: int | None) -> None:
        await original(self, room, end)
        if room.phase is Phase.LIVE:
            room.verify_at = self._monotonic() + self._settings.verify_s

    return [(Hub, "_fill", fill)]


def _no_second_check() -> Sequence[Patch]:
    original = Hub._open

    async def opened(self: Hub, name: str) -> Room:
        room = await original(self, name)
        room.verify_at += 9.0
        return room

    return [(Hub, "_open", opened)]


def _no_regular_check() -> Sequence[Patch]:
    async def verify(self: Hub, room: Room) -> None:
        return None

    async def settle(self: Hub, room: Room, deadline_s: float = 5.0) -> None:
        return None

    return [(Hub, "verify", verify), (Hub, "settle", settle)]


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


def _hash_unchecked() -> Sequence[Patch]:
    def knows(self: Room, cursor: Cursor) -> bool:
        return True

    return [(Room, "knows", knows)]


def _epoch_unchecked() -> Sequence[Patch]:
    original = CatchUp.recover

    async def recover(self: CatchUp, room: Room, cursor: Cursor) -> Any:
        return await original(self, room, Cursor(room.epoch, cursor.seq, cursor.hash))

    return [(CatchUp, "recover", recover)]


def _folds_unconditional() -> Sequence[Patch]:
    def merge(condition: object, fields: Any) -> Any:
        return {"$replaceWith": {"$mergeObjects": ["$$ROOT", {"$literal": fields}]}}

    return [(folds, "_merge_if", merge)]


def _watermark_first() -> Sequence[Patch]:
    original = StreamWorker._step

    async def step(self: StreamWorker, session: Any, feed: Any, wait: float) -> bool:
        class Early:
            async def next(self, seconds: float) -> Any:
                arrivals = await feed.next(seconds)
                if arrivals:
                    last = arrivals[-1].stored
                    mark = Watermark(session.epoch, last.seq, worker._job.hash_of(last))
                    await worker._ledger.advance(worker.name, mark, last.ts)
                return arrivals

            async def acknowledge(self) -> None:
                await feed.acknowledge()

        worker = self
        return await original(self, session, Early(), wait)

    return [(StreamWorker, "_step", step)]


def _held_are_dropped() -> Sequence[Patch]:
    def drain(self: Hub, room: Room) -> bool:
        room.held.clear()
        return True

    return [(Hub, "_drain_held", drain)]


def _no_check_after_election() -> Sequence[Patch]:
    return [(Hub, "verify_all", lambda self: None)]


def _page_before_the_leader() -> Sequence[Patch]:
    async def settle(self: Hub, room: Room, deadline_s: float = 5.0) -> None:
        return None

    return [(Hub, "settle", settle)]


def _delivery_after_removal() -> Sequence[Patch]:
    return [(Desk, "_enforce", lambda self, rights, name: None)]


def _no_check_before_publish() -> Sequence[Patch]:
    return [(Poster, "check", lambda self, author, command, target: None)]


def _resends_look_new() -> Sequence[Patch]:
    from msgspec.structs import replace

    def attempt(entry: Any) -> Any:
        entry.attempted = True
        entry.under_way = True
        return replace(entry.command, again=False)

    return [(Outbox, "_attempt", staticmethod(attempt))]


def _client_goes_on_after_a_failure() -> Sequence[Patch]:
    def take(self: Outbox, now: float) -> Any:
        self._not_before = None
        self._failures = 0
        entries = list(self._entries.values())[:WINDOW]
        return [self._attempt(entry) for entry in entries if not entry.under_way]

    return [(Outbox, "take", take), (Lanes, "passes", lambda self, room, command, now: True)]


def _client_drops_gaps() -> Sequence[Patch]:
    def recovered(self: CatchUp, room: Room, cursor: Cursor) -> Any:
        async def nothing() -> list[bytes]:
            return []

        return nothing()

    return [(CatchUp, "recover", recovered)]


def _join_before_following() -> Sequence[Patch]:
    """What comes between the page and the subscription is not replayed."""
    original = Room.replay

    def replay(self: Room, seq: int) -> Any:
        return [] if seq != 0 else original(self, seq)

    return [(Room, "replay", replay)]


def _refused_as_lost() -> Sequence[Patch]:
    """An unknown outcome of a batch is taken for a refusal, and the batch goes again one by one."""
    original = Publisher._store_together

    async def together(self: Publisher, stream: str, ready: Any) -> Any:
        outcome = await original(self, stream, ready)
        return NotStored(str(outcome)) if isinstance(outcome, Unknown) else outcome

    return [(Publisher, "_store_together", together)]


def _control_is_not_asked() -> Sequence[Patch]:
    async def hear(self: Node) -> None:
        return None

    return [(Node, "hear_control", hear)]


def _rights_before_look_up() -> Sequence[Patch]:
    """As it was: who has no right any more is refused, whatever was stored before."""
    original = Poster._post_one

    async def post(self: Poster, author: Any, command: Any, queue: Any) -> None:
        rights = await self._rights.load(command.room)
        if rights is None or rights.role_of(author.user) is None:
            raise refusal(ErrorCode.NOT_FOUND)
        await original(self, author, command, queue)

    return [(Poster, "_post_one", post)]


def _opening_rooms_keep_their_epoch() -> Sequence[Patch]:
    """As it was: a room that is being opened when its epoch rises goes live in the old one."""
    original = Hub._open

    async def opened(self: Hub, name: str) -> Room:
        epochs: dict[int, int] = {}
        current = self._epoch_of

        def first(partition: int) -> int:
            return epochs.setdefault(partition, current(partition))

        hub = copy.copy(self)
        hub._epoch_of = first
        return await original(hub, name)

    return [(Hub, "_open", opened)]


def _replicas_believed() -> Sequence[Patch]:
    async def missed(*_args: object) -> list[Stored]:
        return []

    return [(DirectReader, "_missed", missed)]


def _tails_believe_replicas() -> Sequence[Patch]:
    return [(chatnode.rooms.tail, "_CHECKED", 0)]


def _feed_believed() -> Sequence[Patch]:
    async def rescue(*_args: object) -> Sequence[Stored]:
        return ()

    return [(StreamWorker, "_rescue", rescue)]


MUTATIONS: Final = (
    Mutation("no-look-up", "§2.2 a resend is looked up in commands and the tail", _no_look_up),
    Mutation("no-tail-in-look-up", "§2.2 the look-up covers the stream beyond the watermark", _only_database),
    Mutation("no-expected-sequence", "§2.2 a resend carries Expected-Last-Subject-Sequence", _no_expected_sequence),
    Mutation("no-care-after-a-stop", "§2.2 what a node reads that stood still is looked up", _no_care_after_a_stop),
    Mutation("publishing-late", "§2.2 no first attempt is published half a window late", _publishing_late),
    Mutation("put-off-checks", "§3 a check that an election asks for is not put off", _put_off_checks),
    Mutation("ack-before-storage", "§2.1 no ack without storage", _ack_before_storage),
    Mutation("in-process-is-stored", "§2.2 10158 is retryable, no ack", _in_process_is_stored),
    Mutation("copies-count-in-history", "§2.2 the lowest seq wins in history", _copies_count_in_history),
    Mutation("copies-count-in-pages", "§2.2 the lowest seq wins in catch-up", _copies_count_in_pages),
    Mutation("copies-count-live", "§2.2 the lowest seq wins on nodes and in clients", _copies_count_live),
    Mutation("resends-look-new", "§2.2 a resend says again", _resends_look_new),
    Mutation("lanes-off", "§3.2 nothing overtakes a command that failed", _lanes_off),
    Mutation("client-goes-on", "§3.2 a client resends from the head", _client_goes_on_after_a_failure),
    Mutation("batches-overlap", "§3.2 batch k+1 starts when k is resolved", _batches_overlap),
    Mutation("fallback-unchecked", "§3.2 the rule is checked again in the fallback", _fallback_unchecked),
    Mutation("believe-404", "§3.6 neither 204 nor 404 proves the end", _believe_the_end),
    Mutation("believe-one-answer", "§3.6 loop while 204 has pending", _believe_the_answer),
    Mutation("no-second-check", "§3.6 the check holds again 1 s later", _no_second_check),
    Mutation("no-regular-check", "§2.4 a lost last message is found within 10 s", _no_regular_check),
    Mutation("gaps-not-fetched", "§2.4 a gap is fetched before what follows", _gaps_are_not_fetched),
    Mutation("other-prev-is-gap", "§2.4 prev <= last is no gap", _any_other_prev_is_a_gap),
    Mutation("old-events-count", "§2.3 everyone sees a room's events in seq order", _old_events_count),
    Mutation("hash-unchecked", "§1 a cursor whose hash does not match is not recovered", _hash_unchecked),
    Mutation("epoch-unchecked", "§1 a cursor of another epoch is not recovered", _epoch_unchecked),
    Mutation("folds-unconditional", "§3.5 every fold is conditional", _folds_unconditional),
    Mutation("watermark-first", "§3.5 the watermark is written after the bulk", _watermark_first),
    Mutation("held-are-dropped", "§3.6 what was buffered beyond the boundary is delivered", _held_are_dropped),
    Mutation("no-check-after-election", "§3 an election means: verify every open room", _no_check_after_election),
    Mutation("page-before-leader", "§3.6 a page reaches to the leader's end", _page_before_the_leader),
    Mutation("recovered-empty", "§2.4 a cursor gets all that was missed", _client_drops_gaps),
    Mutation("replay-empty", "§3.6 nothing lies between page and subscription", _join_before_following),
    Mutation("delivery-after-removal", "§2.5 a removal ends open subscriptions", _delivery_after_removal),
    Mutation(
        "control-not-asked", "§2.5 a node asks what control holds before it says not found", _control_is_not_asked
    ),
    Mutation("rights-before-look-up", "§2.2 what is stored is told as stored", _rights_before_look_up),
    Mutation("opening-keeps-epoch", "§1 a new epoch ends every room", _opening_rooms_keep_their_epoch),
    Mutation(
        "replicas-believed", "§3.6 what lies between the events of a range is asked of the leader", _replicas_believed
    ),
    Mutation(
        "tails-believe-replicas", "§2.2, §3.6 and so is what lies between those of a tail", _tails_believe_replicas
    ),
    Mutation("feed-believed", "§3.5 what was not fed is asked of other servers", _feed_believed),
    Mutation("no-check-before-publish", "§2.5 rights are checked right before the publish", _no_check_before_publish),
)
