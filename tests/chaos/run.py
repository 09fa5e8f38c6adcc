"""One run: a cluster, people who talk, faults, the verdict."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from tests.chaos.breaker import Breaker, Done
from tests.chaos.cluster import PEOPLE, Cluster
from tests.chaos.network import Network
from tests.chaos.orders import Crowd, Judged, Seat, SeatedRoom
from tests.chaos.outcome import Outcome, outcome
from tests.chaos.people import People
from tests.chaos.plan import Means, plan
from tests.chaos.servers import Site
from tests.oracle.planted import plant_all

_CROWDS: Final = 2
_HUSHED_WITHIN_S: Final = 240.0
_CALM_SHARE: Final = 0.06
"""People whom nothing holds up wait for no more than this share of what they may have under way."""
_CALM_ROOMS: Final = 5
"""One room of so many is calm: there people use all ways alike."""
_CALM: Final = 6.0
"""How many times slower people talk there, and who reads by polls or events talks anywhere."""


@dataclass(frozen=True)
class Plan:
    seed: int
    seconds: float
    means: Means
    rooms: int = 20
    people: int = 10
    """In each room."""
    pace_s: float = 0.4
    """Between two commands of one person, on average, while their acks take less than a second."""
    pairs: int = 20
    """Rooms of two people more, who talk much faster: most talk in a school is between two."""
    pair_pace_s: float = 0.025
    under_way: int = 16


@dataclass(frozen=True)
class Run:
    outcome: Outcome
    rooms: tuple[Judged, ...]
    faults: tuple[Done, ...]


async def run(
    given: Plan,
    cluster: Cluster,
    network: Network | None,
    say: Callable[[str], None],
    play: Callable[[Breaker], Awaitable[None]] | None = None,
) -> Run:
    """``cluster`` runs, on ``network`` or (without one) on loopback; afterwards it is as the last fault left it.

    ``play`` takes the place of the plan.
    """
    planted = plant_all()
    say(f"the checker found {sum(planted.values())} of {len(planted)} planted: {', '.join(planted)}")
    nodes, workers = len(cluster.nodes), len(cluster.workers)
    faults = plan(given.seed, given.seconds, given.means, nodes=nodes, workers=workers) if play is None else []
    breaker = Breaker(cluster, network, given.seed, say)
    crowds = await seated(given, cluster)
    site = network.site(PEOPLE) if network is not None else Site()
    judged: list[Judged] = []
    async with People(crowds, site, cluster.plain_environment) as people:
        everybody = given.rooms * given.people + 2 * given.pairs
        say(f"{everybody} people in {given.rooms + given.pairs} rooms; {len(faults)} faults are planned")
        few = everybody * given.under_way * _CALM_SHARE
        breaker.calm = lambda: people.waiting <= few
        people.talk()
        began = time.monotonic()
        telling = asyncio.create_task(_tell(people, say), name="tell")
        try:
            await (breaker.run(faults) if play is None else play(breaker))
            healed_at = max((done.healed_at for done in breaker.done), default=time.monotonic())
            if play is not None:
                # A scenario lets people talk on after what it does.
                healed_at = time.monotonic()
            took_s = time.monotonic() - began
            say(f"caught up after storms in {breaker.caught_up_s} s")
            say(f"{len(breaker.done)} faults healed; waiting until everybody has everything")
            missing = await people.hush(_HUSHED_WITHIN_S)
        finally:
            telling.cancel()
        converge_s = time.monotonic() - healed_at
        say(f"converged {converge_s:.1f} s after the last fault" if not missing else f"not converged: {missing}")
        deaths = [(done.began_at, done.led) for done in breaker.done if done.fault.timed]
        await people.judged(deaths, judged.append)
    say("judged")
    return Run(
        outcome(
            seed=given.seed,
            seconds=given.seconds if play is None else round(took_s, 1),
            took_s=took_s,
            done=breaker.done,
            rooms=judged,
            planted=(len(planted), sum(planted.values())),
            converge_s=converge_s,
            missing=missing,
        ),
        tuple(judged),
        tuple(breaker.done),
    )


async def _tell(people: People, say: Callable[[str], None]) -> None:
    before = 0
    while True:
        await asyncio.sleep(30.0)
        say(f"{people.acked} acked, {(people.acked - before) / 30:.0f}/s, {people.waiting} wait")
        before = people.acked


async def seated(given: Plan, cluster: Cluster) -> list[Crowd]:
    """Rooms are made; who sits where, and by which way."""
    readers = [f"reader-{number}" for number in range(len(cluster.nodes))]
    journals = cluster.directory / "journals"
    journals.mkdir(parents=True, exist_ok=True)
    rooms: list[SeatedRoom] = []
    for number in range(given.rooms + given.pairs):
        name = f"chaos-{given.seed}-{number}"
        pair = number >= given.rooms
        users = [f"user-{number}-{person}" for person in range(2 if pair else given.people)]
        await cluster.make_room(name, [*users, *readers])
        seats = tuple(
            Seat(
                user,
                cluster.token(user),
                ("websocket",) if pair else way(number, person),
                number + person,
                given.pair_pace_s if pair else pace_s(given, number, person),
            )
            for person, user in enumerate(users)
        )
        rooms.append(SeatedRoom(name, str(journals / f"{name}.log"), seats))
    tokens = tuple(cluster.token(reader) for reader in readers)
    urls = tuple(cluster.socket_urls)
    return [
        Crowd(str(given.seed), urls, tuple(rooms[part::_CROWDS]), tokens, given.under_way) for part in range(_CROWDS)
    ]


def way(room: int, person: int) -> tuple[str, ...]:
    """In a calm room people use all ways alike; in a busy one all but one use sockets, and one reads events."""
    if room % _CALM_ROOMS == _CALM_ROOMS - 1:
        return (("websocket",), ("sse",), ("poll",), ("websocket", "sse", "poll"))[person % 4]
    return ("sse",) if person == 0 else ("websocket",)


def pace_s(given: Plan, room: int, person: int) -> float:
    calm = room % _CALM_ROOMS == _CALM_ROOMS - 1 or way(room, person) == ("sse",)
    return given.pace_s * (_CALM if calm else 1.0)
