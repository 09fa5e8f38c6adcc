"""What is published is stored in order, once, and only while it may be."""

import asyncio

from chatnode.broker.room_log import StreamRoomLog
from chatnode.broker.subjects import partition_of, room_subject
from chatnode.local.servers import NatsServer
from chatnode.protocol.errors import ErrorCode, ProtocolError
from chatnode.rooms.ports import Accepted, NotStored, Unknown
from tests.integration.rooms.bench import ROOM, Bench, Event, until


async def test_batches_keep_the_order_of_submission(bench: Bench) -> None:
    seqs = await bench.store(range(1000))
    assert seqs == sorted(seqs)
    state = await bench.reader.state(f"CHAT_{partition_of(ROOM)}")
    assert state.last == 1000


async def test_one_duplicate_in_a_batch_costs_the_others_nothing(bench: Bench) -> None:
    first = await bench.store(range(5))
    outcomes = await asyncio.gather(*(event.outcome for event in bench.send(range(10))))
    accepted = [outcome for outcome in outcomes if isinstance(outcome, Accepted)]
    assert [outcome.duplicate for outcome in accepted] == [True] * 5 + [False] * 5
    assert [outcome.seq for outcome in accepted] == [*first, 6, 7, 8, 9, 10]


async def test_an_event_that_lost_its_right_while_it_waited_is_not_stored(bench: Bench) -> None:
    events = [Event(number) for number in range(4)]
    events[2].refusal = ProtocolError(ErrorCode.FORBIDDEN, "removed")
    for event in events:
        bench.publisher.submit(event)
    outcomes = await asyncio.gather(*(event.outcome for event in events))
    assert [type(outcome) for outcome in outcomes] == [Accepted, Accepted, ProtocolError, Accepted]
    assert (await bench.reader.state(f"CHAT_{partition_of(ROOM)}")).last == 3


async def test_a_resend_is_stored_only_where_the_room_stands_as_it_was_looked_up(bench: Bench) -> None:
    await bench.store(range(3))
    moved, right = Event(10, expected_last=2), Event(11, expected_last=3)
    bench.publisher.submit(moved)
    bench.publisher.submit(right)
    outcome = await moved.outcome
    assert isinstance(outcome, NotStored)
    assert outcome.moved
    assert await right.outcome == Accepted(4)


class Resend(Event):
    """Looks again where its room has moved on."""

    def __init__(self, number: int, bench: "Bench") -> None:
        super().__init__(number, expected_last=1)
        self.bench = bench
        self.looks = 0

    async def look_again(self) -> int | Accepted | None:
        self.looks += 1
        last = await StreamRoomLog(self.bench.reader).last(ROOM)
        assert last is not None
        return Accepted(last.seq, duplicate=True) if self.number < last.seq else last.seq


async def test_a_resend_looks_again_in_its_turn_where_others_talk_in_its_room(bench: Bench) -> None:
    await bench.store(range(3))
    missing, there = Resend(10, bench), Resend(2, bench)
    for event in (missing, there):
        bench.publisher.submit(event)
    assert await missing.outcome == Accepted(4)
    assert await there.outcome == Accepted(4, duplicate=True)
    assert (missing.looks, there.looks) == (1, 1)


async def test_a_resend_that_lost_its_right_while_it_looked_again_is_not_stored(bench: Bench) -> None:
    await bench.store(range(3))
    event = Resend(10, bench)
    bench.publisher.submit(event)
    look = event.look_again

    async def lose_it() -> int | Accepted | None:
        found = await look()
        event.refusal = ProtocolError(ErrorCode.FORBIDDEN, "removed")
        return found

    event.look_again = lose_it  # type: ignore[method-assign]
    assert isinstance(await event.outcome, ProtocolError)
    assert (await bench.reader.state(f"CHAT_{partition_of(ROOM)}")).last == 3


async def test_without_nats_nothing_is_acknowledged_and_nothing_comes_out_later(
    bench: Bench, nats_server: NatsServer
) -> None:
    await bench.store(range(3))
    await nats_server.kill()
    await until(lambda: not bench.client.is_connected)
    outcomes = await asyncio.gather(*(event.outcome for event in bench.send(range(3, 30))))
    assert all(isinstance(outcome, NotStored | Unknown) for outcome in outcomes)
    await nats_server.restart()
    await until(lambda: bench.client.is_connected)
    await bench.store(range(30, 33))
    subjects = [
        message.data for message in (await bench.reader.after(f"CHAT_{partition_of(ROOM)}", room_subject(ROOM), 0))[0]
    ]
    assert len(subjects) == 6
