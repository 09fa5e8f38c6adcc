"""One run: a cluster, people who talk, faults, the verdict."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from chatnode.protocol.frames import Message, Position
from tests.chaos.cluster import Cluster
from tests.chaos.faults import Breaker, Done, plan
from tests.chaos.network import Network
from tests.chaos.outcome import Outcome, counts, of_kind, resume_s
from tests.chaos.talkers import TIMING, Talker
from tests.oracle import Acked, Log, Record, Rule, Verdict, Watched, judge


@dataclass(frozen=True)
class Plan:
    seed: int
    seconds: float
    rooms: int = 6
    people: int = 4
    """In each room."""
    pace_s: float = 0.15
    """Between two commands of one person, on average."""


@dataclass(frozen=True)
class Run:
    outcome: Outcome
    verdict: Verdict
    records: tuple[Record, ...]
    faults: tuple[Done, ...]


async def run(given: Plan, cluster: Cluster, network: Network | None, say: Callable[[str], None]) -> Run:
    """``cluster`` runs, on ``network`` or (without one) on loopback; afterwards it is as the last fault left it."""
    log = Log()
    faults = plan(
        given.seed,
        given.seconds,
        networked=network is not None,
        nodes=len(cluster.nodes),
        workers=len(cluster.workers),
    )
    breaker = Breaker(cluster, network)
    rooms = [f"chaos-{given.seed}-{number}" for number in range(given.rooms)]
    async with AsyncExitStack() as stack:
        talkers = await _seated(given, cluster, log, rooms, stack)
        for talker in talkers:
            talker.talk()
        for fault in faults:
            say(str(fault))
        await breaker.run(faults)
        healed_at = max((done.healed_at for done in breaker.done), default=time.monotonic())
        say(f"{len(breaker.done)} faults healed; waiting until everybody has everything")
        hushed = await asyncio.gather(*(_hushed(talker) for talker in talkers))
        say("nobody talks any more")
        missing = [words for words in hushed if words]
        missing += await _settled(talkers, log)
        converge_s = round(time.monotonic() - healed_at, 2)
        say(f"converged {converge_s:.1f} s after the last fault" if not missing else f"not converged: {missing}")
        histories, differences = await _histories(cluster, log, rooms, f"user-{given.seed}")
    missing += differences
    verdict = judge(log.records, histories)
    problems = counts(verdict)
    return Run(
        Outcome(
            seed=given.seed,
            seconds=given.seconds,
            faults=len(breaker.done),
            faults_by_kind=_by_kind(breaker),
            sent=verdict.sent,
            acked=verdict.acked,
            refused=verdict.refused,
            unknown=verdict.unknown,
            delivered=verdict.delivered,
            lost=of_kind(problems, Rule.LOST, Rule.FALSE_ACK),
            duplicated=of_kind(problems, Rule.DUPLICATED),
            phantom=of_kind(problems, Rule.PHANTOM, Rule.PREMATURE, Rule.ALTERED),
            reordered=of_kind(problems, Rule.REORDERED, Rule.SENDER_ORDER, Rule.DISAGREEMENT),
            gaps=of_kind(problems, Rule.GAP),
            problems=problems,
            resume_s=resume_s(log.records, breaker.done),
            converge_s=None if missing else converge_s,
            not_converged=tuple(missing),
        ),
        verdict,
        tuple(log.records),
        tuple(breaker.done),
    )


async def _seated(given: Plan, cluster: Cluster, log: Log, rooms: Sequence[str], stack: AsyncExitStack) -> list[Talker]:
    talkers: list[Talker] = []
    for number, room in enumerate(rooms):
        users = [f"user-{given.seed}-{number}-{person}" for person in range(given.people)]
        await cluster.make_room(room, [*users, *(f"user-{given.seed}-reader-{n}" for n in range(len(cluster.nodes)))])
        for person, user in enumerate(users):
            seed = f"{given.seed}-{number}-{person}"
            talker = Talker(cluster, log, room, user, node=number + person, seed=seed, pace_s=given.pace_s)
            talkers.append(await stack.enter_async_context(talker))
    return talkers


async def _hushed(talker: Talker) -> str:
    try:
        async with asyncio.timeout(200.0):
            await talker.hush()
    except TimeoutError:
        return f"{talker.watched.name} waits for answers"
    return ""


async def _settled(talkers: Sequence[Talker], log: Log) -> list[str]:
    last: dict[str, Position] = {}
    for record in log.records:
        if isinstance(record, Acked):
            last[record.room] = max(last.get(record.room, Position(0, 0)), record.position)

    async def settled(talker: Talker) -> str:
        upto = last.get(talker.room, Position(0, 0))
        try:
            await talker.watched.until_at(talker.room, upto, within=60.0)
        except TimeoutError:
            held = talker.watched.client.cursor(talker.room)
            return f"{talker.watched.name} has {talker.room} up to {held}, not {upto}"
        return ""

    return [words for words in await asyncio.gather(*map(settled, talkers)) if words]


async def _histories(
    cluster: Cluster, log: Log, rooms: Sequence[str], user: str
) -> tuple[dict[str, list[Message]], list[str]]:
    """Every room's history, as every node tells it; and in which rooms nodes do not agree."""
    told: list[dict[str, list[Message]]] = []
    for number, url in enumerate(cluster.socket_urls):
        reader = f"{user}-reader-{number}"
        async with Watched(log, reader, url, cluster.token(reader), timing=TIMING, timeout=90.0) as watched:
            told.append({room: await watched.whole_history(room) for room in rooms})
    different = [
        f"node-{number} tells another history of {room} than node-0"
        for number, histories in enumerate(told)
        for room in rooms
        if histories[room] != told[0][room]
    ]
    return told[0], different


def _by_kind(breaker: Breaker) -> dict[str, int]:
    kinds: dict[str, int] = {}
    for done in breaker.done:
        name = f"{done.fault.kind} {done.fault.target}"
        kinds[name] = kinds.get(name, 0) + 1
    return dict(sorted(kinds.items()))
