"""The writer against a real MongoDB: whatever happens on the way, pages equal the fold over the sequence."""

import random
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from chatnode.history.client import Database
from chatnode.history.folds import Entry, effects_of, head_operations
from chatnode.history.progress import Ledger
from chatnode.history.reader import MongoHistory
from chatnode.history.schema import HEADS, MESSAGES, REACTIONS
from chatnode.history.writer import HistoryWriter, execute
from chatnode.protocol.envelope import SYSTEM_USER, Envelope, EventKind
from chatnode.protocol.fold import Timeline
from chatnode.protocol.frames import MemberChange, Message, Position
from chatnode.protocol.ids import event_hash
from chatnode.protocol.sealing import PlainSealer
from chatnode.rooms.ports import Watermark
from chatnode.rooms.render import cursor_of, event_of
from tests.integration.conftest import MongoAddress
from tests.integration.history_bench import migrated

KINDS: Final[tuple[EventKind, ...]] = ("message", "edit", "edit", "delete", "reaction", "reaction", "member", "erased")
SEALER: Final = PlainSealer()
ROOMS: Final = ("one", "two")

Placed = tuple[int, Entry]
"""An event with its epoch."""


@pytest.fixture
async def mongodb(mongo: MongoAddress, database: str) -> AsyncIterator[Database]:
    """Without waiting for the disk, so that there is time for many runs; what is written is the same."""
    async with migrated(mongo.uri, database) as opened:
        yield opened.database.with_options(read_concern=ReadConcern("local"), write_concern=WriteConcern(w=1, j=False))


def envelope(kind: EventKind, room: str, user: str, id_: str, *, text: str = "", **fields: object) -> Envelope:
    body = SEALER.seal(user, text) if kind in {"message", "edit"} else None
    return Envelope(kind=kind, room=room, user=user, id=id_, ts=0, digest="d", body=body, **fields)  # type: ignore[arg-type]


@st.composite
def sequences(draw: st.DrawFn) -> list[Placed]:
    """A partition's stream: ids come again, targets may be anything, the epoch is raised now and then, seqs skip."""
    epoch, seq = 1, 0
    placed: list[Placed] = []
    for _ in range(draw(st.integers(1, 18))):
        epoch += draw(st.sampled_from((0, 0, 0, 0, 1)))
        seq += draw(st.sampled_from((1, 1, 1, 3)))
        kind = draw(st.sampled_from(KINDS if placed else ("message",)))
        user = draw(st.sampled_from(("ann", "bob")))
        fields: dict[str, object] = {}
        if kind in {"edit", "delete", "reaction", "erased"}:
            held = [Position(at, entry.seq) for at, entry in placed]
            aims = [*held[:1] * 8, *held, Position(epoch, seq), Position(epoch, seq + 1)]
            fields["target"] = draw(st.sampled_from(aims))
        if kind == "reaction":
            fields |= {"emoji": draw(st.sampled_from(("+1", "$rev", "."))), "on": draw(st.booleans())}
        if kind == "member":
            fields["change"] = MemberChange("eve", draw(st.sampled_from((None, "learner"))), "$$ROOT")
            fields["actor"] = "bob"
            user = SYSTEM_USER
        if kind == "message" and placed and draw(st.booleans()):
            fields["reply_to"] = Position(placed[-1][0], placed[-1][1].seq)
        if kind in {"message", "edit"}:
            fields["mentions"] = draw(st.sampled_from(((), ("bob",), ("ann", "bob"))))
        made = envelope(
            kind,
            draw(st.sampled_from((*ROOMS[:1] * 4, *ROOMS))) if placed else ROOMS[0],
            user,
            ("ctl-" if kind == "member" else "") + draw(st.sampled_from("abcdefghijklm")),
            text=draw(st.sampled_from(("hello", "$kind", ""))),
            **fields,
        )
        placed.append((epoch, Entry(seq, Envelope(**{**_fields(made), "ts": 1000 + seq}))))
    return placed


def _fields(made: Envelope) -> dict[str, object]:
    return {name: getattr(made, name) for name in made.__struct_fields__}


def within(placed: Sequence[Placed], run: str) -> list[Placed]:
    """The same with rooms and users of this run alone, so that runs share a database."""
    renamed: list[Placed] = []
    for epoch, entry in placed:
        fields = _fields(entry.envelope)
        fields |= {"room": f"{run}-{entry.envelope.room}", "user": f"{run}-{entry.envelope.user}"}
        if fields["actor"] is not None:
            fields["actor"] = f"{run}-{fields['actor']}"
        renamed.append((epoch, Entry(entry.seq, Envelope(**fields))))  # type: ignore[arg-type]
    return renamed


def folded(placed: Sequence[Placed], room: str) -> tuple[Message, ...]:
    timeline = Timeline()
    for epoch, entry in placed:
        if entry.envelope.room == room:
            timeline.apply(event_of(entry.envelope, epoch=epoch, seq=entry.seq, prev=0, sealer=SEALER))
    return timeline.messages()


def batches(placed: Sequence[Placed], sizes: Sequence[int]) -> list[tuple[int, list[Entry]]]:
    """Cut into batches of one epoch each, their sizes in turn."""
    cut: list[tuple[int, list[Entry]]] = []
    room = 0
    for epoch, entry in placed:
        if not cut or cut[-1][0] != epoch or room == 0:
            cut.append((epoch, []))
            room = sizes[len(cut) % len(sizes)]
        cut[-1][1].append(entry)
        room -= 1
    return cut


class Worker:
    """Works as the real one does, from its watermark on, and can be stopped for good or for a while at every step."""

    def __init__(self, mongodb: Database, run: str, placed: Sequence[Placed], sizes: Sequence[int]) -> None:
        self._database = mongodb
        self._writer = HistoryWriter(mongodb)
        self._ledger = Ledger(mongodb)
        self._stream = run
        self._placed = placed
        self._sizes = sizes

    async def steps(self) -> AsyncIterator[None]:
        progress = await self._ledger.progress(self._stream)
        mark = progress.watermark if progress else Watermark(0, 0)
        rest = [(epoch, entry) for epoch, entry in self._placed if (epoch, entry.seq) > (mark.epoch, mark.seq)]
        for epoch, batch in batches(rest, self._sizes):
            yield
            await self._writer.claim(epoch, batch[: len(batch) // 2 + 1])
            yield
            settlement = await self._writer.claim(epoch, batch)
            yield
            effects = effects_of(epoch, settlement)
            half = len(effects.messages) // 2
            await execute(self._database[MESSAGES], effects.messages[half:])
            yield
            await execute(self._database[MESSAGES], effects.messages[:half])
            yield
            await execute(self._database[REACTIONS], effects.reactions)
            await execute(self._database[HEADS], head_operations(epoch, batch, settlement))
            yield
            last = batch[-1]
            seen = event_hash(last.envelope.user, last.envelope.id)
            await self._ledger.advance(self._stream, Watermark(epoch, last.seq, seen))

    async def finish(self) -> None:
        async for _ in self.steps():
            pass


async def assert_history_is_the_fold(mongodb: Database, placed: Sequence[Placed]) -> None:
    reader = MongoHistory(mongodb, SEALER)
    for room in {entry.envelope.room for _, entry in placed}:
        expected = folded(placed, room)
        page = await reader.page(room, limit=100)
        assert page.messages == expected
        assert not page.more_before
        epoch, entry = [each for each in placed if each[1].envelope.room == room][-1]
        assert await reader.head(room) == cursor_of(entry.envelope, epoch, entry.seq)


ALWAYS = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@ALWAYS
@given(
    placed=sequences(),
    sizes=st.lists(st.integers(1, 8), min_size=1, max_size=4),
    schedule=st.lists(st.integers(0, 7), max_size=60),
)
async def test_pages_are_the_fold_over_the_sequence_whatever_two_workers_do(
    mongodb: Database, placed: list[Placed], sizes: list[int], schedule: list[int]
) -> None:
    run = uuid.uuid4().hex[:12]
    placed = within(placed, run)
    workers = [Worker(mongodb, run, placed, sizes), Worker(mongodb, run, placed, sizes[::-1])]
    running = [worker.steps() for worker in workers]
    for word in schedule:
        index = word % 2
        crash = word >= 6
        if crash:
            await running[index].aclose()
            running[index] = workers[index].steps()
        else:
            await anext(running[index], None)
    await Worker(mongodb, run, placed, [100]).finish()
    await assert_history_is_the_fold(mongodb, placed)
    for paused in running:
        async for _ in paused:
            pass
    await assert_history_is_the_fold(mongodb, placed)
    progress = await Ledger(mongodb).progress(run)
    assert progress is not None
    assert (progress.watermark.epoch, progress.watermark.seq) == (placed[-1][0], placed[-1][1].seq)


@ALWAYS
@given(
    placed=sequences(),
    order=st.randoms(use_true_random=False),
    sizes=st.lists(st.integers(1, 8), min_size=1, max_size=4),
)
async def test_distinct_events_may_come_in_any_order(
    mongodb: Database, placed: list[Placed], order: random.Random, sizes: list[int]
) -> None:
    run = uuid.uuid4().hex[:12]
    seen: set[tuple[str, str, str]] = set()
    distinct: list[Placed] = []
    for epoch, entry in within(placed, run):
        key = (entry.envelope.room, entry.envelope.user, entry.envelope.id)
        if key not in seen:
            seen.add(key)
            distinct.append((epoch, entry))
    shuffled = distinct.copy()
    order.shuffle(shuffled)
    writer = HistoryWriter(mongodb)
    for epoch, batch in batches(shuffled, sizes):
        await writer.write(epoch, [(entry.seq, entry.envelope) for entry in batch])
    reader = MongoHistory(mongodb, SEALER)
    for room in {entry.envelope.room for _, entry in distinct}:
        found = (await reader.page(room, limit=100)).messages
        assert found == folded(distinct, room)


@ALWAYS
@given(order=st.permutations(range(6)), sizes=st.lists(st.integers(1, 3), min_size=1, max_size=3))
async def test_of_copies_of_a_message_the_lowest_is_shown_whichever_comes_first(
    mongodb: Database, order: list[int], sizes: list[int]
) -> None:
    run = uuid.uuid4().hex[:12]
    copies = [
        (1, Entry(seq, envelope("message", f"{run}-one", f"{run}-ann", "ab"[seq % 2], text="x"))) for seq in range(6)
    ]
    writer = HistoryWriter(mongodb)
    for epoch, batch in batches([copies[index] for index in order], sizes):
        await writer.write(epoch, [(entry.seq, entry.envelope) for entry in batch])
    await assert_history_is_the_fold(mongodb, copies)


async def test_a_copy_in_another_room_is_no_copy(mongodb: Database) -> None:
    writer = HistoryWriter(mongodb)
    events = [(seq, envelope("message", room, "ann", "a", text=room)) for seq, room in enumerate(ROOMS, start=1)]
    await writer.write(1, events)
    await assert_history_is_the_fold(mongodb, [(1, Entry(*each)) for each in events])


async def test_a_writer_tells_how_many_copies_it_met(mongodb: Database) -> None:
    writer = HistoryWriter(mongodb)
    first = envelope("message", "one", "ann", "a", text="x")
    assert (await writer.write(1, [(1, first), (2, first)])).void == 1
    assert (await writer.write(1, [(3, first)])).void == 1
    assert (await writer.write(1, [(1, first)])).void == 0
    assert (await writer.write(1, [])).void == 0


async def test_what_mongodb_can_never_hold_is_refused_alone(mongodb: Database) -> None:
    good, bad = envelope("message", "one", "ann", "a", text="x"), envelope("message", "one", "ann", "b", text="y")
    written = await HistoryWriter(mongodb).write(1, [(1, good), (2, replace(bad, ts=2**80))])
    assert [seq for seq, _ in written.refused] == [2]
    assert len((await MongoHistory(mongodb, SEALER).page("one", limit=5)).messages) == 1
