"""``python -m tests.chaos.crowd``: a process of people, told line by line what to do; it judges their rooms, too."""

import asyncio
import gc
import sys
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import uvloop

from chatnode.protocol.frames import Message, Send
from tests.chaos import orders
from tests.chaos.journal import Journal, read_journal
from tests.chaos.orders import Crowd, Finding, Hush, Hushed, Judge, Judged, Left, Ready, Talk, Talking
from tests.chaos.resumed import Span, first_acks_s, waited_s
from tests.chaos.talkers import TIMING, Talker
from tests.oracle import Acked, HistoryRead, Invoked, Record, Witness, judge

_SEATED_AT_ONCE: Final = 16
_SAID_EVERY_S: Final = 1.0
_SHOWN: Final = 40


class _NewestPages:
    """Of what readers read it logs the newest page of each room: whether that is fresh is judged too."""

    def __init__(self, journals: Mapping[str, Journal]) -> None:
        self._journals = journals

    def add(self, record: Record) -> None:
        if isinstance(record, HistoryRead) and record.newest:
            self._journals[record.room].add(record)


async def serve(crowd: Crowd, lines: asyncio.StreamReader) -> None:
    journals = {room.name: Journal(Path(room.journal)) for room in crowd.rooms}
    async with AsyncExitStack() as stack:
        talkers = await _seated(crowd, journals, stack)
        _say(Ready())
        counting = asyncio.create_task(_count(talkers), name="count")
        stack.callback(counting.cancel)
        while line := await lines.readline():
            match orders.order_of(line):
                case Talk():
                    for talker in talkers:
                        talker.talk()
                case Hush(within_s):
                    _say(Hushed(tuple(await _hushed(talkers, journals, within_s))))
                case Judge() as order:
                    break
        else:
            return
        counting.cancel()
    await _judge(crowd, journals, order, {talker.client.user: talker.offline for talker in talkers})
    _say(Left())


async def _seated(crowd: Crowd, journals: Mapping[str, Journal], stack: AsyncExitStack) -> list[Talker]:
    talkers = [
        Talker(journals[room.name], room.name, seat, crowd.socket_urls, f"{crowd.seed}-{seat.user}", crowd.under_way)
        for room in crowd.rooms
        for seat in room.seats
    ]
    free = asyncio.Semaphore(_SEATED_AT_ONCE)

    async def sit(talker: Talker) -> None:
        async with free:
            await talker.__aenter__()
        stack.push_async_exit(talker.__aexit__)

    async with asyncio.TaskGroup() as group:
        for talker in talkers:
            group.create_task(sit(talker))
    return talkers


async def _count(talkers: Sequence[Talker]) -> None:
    while True:
        await asyncio.sleep(_SAID_EVERY_S)
        acked = sum(talker.acked for talker in talkers)
        _say(Talking(acked, sum(talker.waiting for talker in talkers)))


async def _hushed(talkers: Sequence[Talker], journals: Mapping[str, Journal], within_s: float) -> list[str]:
    async def hush(talker: Talker) -> str:
        try:
            async with asyncio.timeout(within_s):
                await talker.hush()
        except TimeoutError:
            return f"{talker.client.name} waits for answers: {talker.state()}"
        ended = talker.ended or talker.client.ended
        if ended is not None:
            return f"{talker.client.name} was ended: {ended}: {ended.__cause__!r}"
        return ""

    async def settle(talker: Talker) -> str:
        upto = journals[talker.room].upto
        try:
            await talker.client.until_at(talker.room, upto, within=within_s)
        except TimeoutError:
            return f"{talker.client.name} has {talker.room} up to {talker.client.at(talker.room)}, not {upto}"
        return ""

    missing = [words for words in await asyncio.gather(*map(hush, talkers)) if words]
    return missing + [words for words in await asyncio.gather(*map(settle, talkers)) if words]


async def _judge(
    crowd: Crowd, journals: Mapping[str, Journal], order: Judge, offline: Mapping[str, Sequence[Span]]
) -> None:
    histories, differences = await _histories(crowd, journals)
    for journal in journals.values():
        journal.close()
    gc.disable()
    for room in crowd.rooms:
        history = histories.pop(room.name)
        records = list(read_journal(Path(room.journal)))
        verdict = judge(records, {room.name: history})
        found: dict[str, int] = {}
        for problem in verdict.problems:
            found[str(problem.rule)] = found.get(str(problem.rule), 0) + 1
        sends = {
            (each.user, each.command.id)
            for each in records
            if isinstance(each, Invoked) and isinstance(each.command, Send)
        }
        acked = {(each.user, each.command) for each in records if isinstance(each, Acked)}
        _say(
            Judged(
                room=room.name,
                sent=verdict.sent,
                acked=verdict.acked,
                messages=len(acked & sends),
                refused=verdict.refused,
                unknown=verdict.unknown,
                delivered=verdict.delivered,
                found=found,
                findings=tuple(Finding(str(each.rule), each.room, each.what) for each in verdict.problems[:_SHOWN]),
                differences=tuple(differences.get(room.name, ())),
                resumed=first_acks_s(records, room.name, order.deaths),
                waited_s=waited_s(records, room.name, order.deaths, offline),
            )
        )


async def _histories(
    crowd: Crowd, journals: Mapping[str, Journal]
) -> tuple[dict[str, list[Message]], dict[str, list[str]]]:
    """Every room's history as the first node tells it; and for each room which nodes tell another."""
    histories: dict[str, list[Message]] = {}
    differences: dict[str, list[str]] = {}
    keeper = _NewestPages(journals)
    async with AsyncExitStack() as stack:
        readers = [
            await stack.enter_async_context(
                Witness(keeper, f"reader-{number}", url, token, timing=TIMING, timeout=120.0, transports=("websocket",))
            )
            for number, (url, token) in enumerate(zip(crowd.socket_urls, crowd.readers, strict=True))
        ]
        for room in crowd.rooms:
            told = await asyncio.gather(*(reader.whole_history(room.name) for reader in readers))
            histories[room.name] = told[0]
            differences[room.name] = [
                f"node-{number} tells another history of {room.name} than node-0: {_difference(told[0], other)}"
                for number, other in enumerate(told)
                if other != told[0]
            ]
    return histories, differences


def _difference(one: Sequence[Message], other: Sequence[Message]) -> str:
    if len(one) != len(other):
        return f"{len(other)} messages, not {len(one)}"
    return next(f"{there}, not {here}" for here, there in zip(one, other, strict=True) if here != there)


def _say(reply: orders.Reply) -> None:
    sys.stdout.buffer.write(orders.encode(reply) + b"\n")
    sys.stdout.buffer.flush()


async def _main() -> None:
    lines = asyncio.StreamReader(limit=2**26)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    await serve(orders.crowd_of(await lines.readline()), lines)


if __name__ == "__main__":
    uvloop.run(_main())
