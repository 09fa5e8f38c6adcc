"""``python -m benchmarks.growth``: how figures change with nodes, rooms, sockets and history, and a soak.

Each part stands alone (``--only``). Figures go to ``build/bench-long.json`` as ``{figure: {at: value}}``, where ``at``
is the number of nodes, rooms, sockets or messages, or seconds of the soak. ``--scale 0.01`` makes everything small, to
see that it runs.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from typing import Final

import httpx
import msgspec
from pymongo import MongoClient

from benchmarks import contenders, machine, measures, programs
from benchmarks.contenders import Running
from benchmarks.crowd import Crowd, CrowdError, Opening, Traffic
from benchmarks.measures import Sizes, opening, spread, watch
from benchmarks.soak import Soak
from chatnode.history.schema import MESSAGES
from chatnode.local.servers import Mongod
from chatnode.protocol.rest import MessagePage

Curve = dict[str, dict[str, float]]

SOURCES: Final = ("127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4")
"""One address has some 28,000 ports for connections to one target."""
_BULK: Final = 20_000
_SOAK_EVERY_S: Final = 15.0
_SOAK_METRICS: Final = {
    "tasks": "chat_tasks",
    "rooms": "chat_rooms_open",
    "sockets": "chat_connections",
    "subscriptions": "chat_subscriptions",
}


@dataclass(frozen=True, slots=True)
class Scale:
    """How large everything is, 1.0 being what the documentation speaks of."""

    factor: float
    soak_s: float

    def of(self, number: int, least: int = 1) -> int:
        return max(least, round(number * self.factor))


class Growth:
    def __init__(self, scale: Scale) -> None:
        self.curve: Curve = {}
        self.failures: list[str] = []
        self._scale = scale
        self._load = programs.load_program()
        self._sizes = Sizes() if scale.factor >= 0.1 else Sizes.quick()

    async def run(self, parts: Sequence[str]) -> None:
        known: dict[str, Callable[[], Awaitable[None]]] = {
            "nodes": self.nodes,
            "rooms": self.rooms,
            "sockets": self.sockets,
            "idle": self.idle,
            "big_room": self.big_room,
            "history": self.history,
            "soak": self.soak,
        }
        for part in parts:
            began = time.monotonic()
            try:
                await known[part]()
            except (CrowdError, TimeoutError, httpx.HTTPError) as error:
                self.failures.append(f"{part}: {error!r}")
                print(f"bench-long: {part} FAILED: {error!r}", file=sys.stderr, flush=True)
            print(f"bench-long: {part} took {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)

    def note(self, figure: str, at: object, value: float) -> None:
        self.curve.setdefault(figure, {})[str(at)] = round(value, 3)
        print(f"bench-long: {figure} at {at}: {value:,.3f}", file=sys.stderr, flush=True)

    async def nodes(self) -> None:
        """Cost of a delivery when the same sockets are spread over more nodes."""
        for nodes in (1, 2, 4):
            async with contenders.project(nodes=nodes) as running, Crowd(self._load) as crowd:
                count = self._scale.of(2000, 40)
                await self._cost(running, crowd, "delivery_cpu_us_by_nodes", nodes, count=count, rooms=10)

    async def rooms(self) -> None:
        """Cost of a message from its send to its delivery, when the same messages fall into more rooms of one each."""
        for rooms in (10, 100, 1000, 10_000):
            number = self._scale.of(rooms)
            async with contenders.project() as running, Crowd(self._load) as crowd:
                figure = "send_and_delivery_cpu_us_by_rooms"
                await self._cost(running, crowd, figure, number, count=number, rooms=number, rate=self._scale.of(1000))

    async def sockets(self) -> None:
        """Cost of a delivery in one room of more sockets, at the same deliveries a second."""
        for sockets in (100, 1000, 4000, 16_000):
            count = self._scale.of(sockets, 10)
            async with contenders.project() as running, Crowd(self._load) as crowd:
                await self._cost(running, crowd, "delivery_cpu_us_by_sockets", count, count=count, rooms=1)

    async def _cost(
        self, running: Running, crowd: Crowd, figure: str, at: int, *, count: int, rooms: int, rate: float = 0.0
    ) -> None:
        """In µs of the nodes; without a rate at 10,000 deliveries a second, so few messages that sending is no part."""
        names = [f"room-{number}" for number in range(rooms)]
        await running.make_rooms(spread(names, "g", count))
        await crowd.open("g", Opening(**measures.fields(opening(running, count, names, "g")) | {"sources": SOURCES}))
        quiet = await watch(running, crowd, self._sizes, "quiet")
        rate = rate or min(10_000, 20 * count) / (count / rooms)
        await crowd.begin("g", Traffic(senders=min(count, rooms), rate=rate))
        busy = await watch(running, crowd, self._sizes, figure)
        await crowd.close("g")
        delivered = busy.marked.groups["g"].delivered
        if not delivered:
            raise CrowdError("nothing was delivered")
        seconds = busy.marked.seconds
        idle_share = quiet.spent.server / quiet.marked.seconds
        self.note(figure, at, busy.spent.server / delivered * 1e6)
        self.note(f"{figure}_without_idle", at, (busy.spent.server / seconds - idle_share) * seconds / delivered * 1e6)
        self.note(figure.replace("cpu_us", "per_s"), at, delivered / seconds)
        self.note(figure.replace("cpu_us", "p99_ms"), at, busy.marked.groups["g"].p99_ms)

    async def idle(self) -> None:
        """Share of a core that idle sockets take, each with a ping per heartbeat, in rooms of a hundred."""
        count = self._scale.of(16_000, 100)
        names = [f"room-{number}" for number in range(max(1, count // 100))]
        async with contenders.project() as running, Crowd(self._load) as crowd:
            await running.make_rooms(spread(names, "i", count))
            idle = await watch(running, crowd, self._sizes, "empty")
            self.note("idle_core_percent", 0, idle.spent.server / idle.marked.seconds * 100)
            before = sum(map(machine.rss_kib, running.servers))
            base = opening(running, count, names, "i")
            await crowd.open("i", Opening(**measures.fields(base) | {"sources": SOURCES, "pulse_s": 25.0}))
            await asyncio.sleep(5.0)
            idle = await watch(running, crowd, self._sizes, "idle")
            self.note("idle_core_percent", count, idle.spent.server / idle.marked.seconds * 100)
            self.note("idle_kib", count, (sum(map(machine.rss_kib, running.servers)) - before) / count)

    async def big_room(self) -> None:
        """Joining a room with 10,000 members, a thousand of them connected."""
        members = self._scale.of(10_000, 10)
        async with contenders.project() as running, Crowd(self._load) as crowd:
            await running.make_rooms({"big": [f"b{number}" for number in range(members)]})
            await crowd.open("rest", opening(running, max(1, members // 10), ["big"], "b"))
            base = measures.fields(opening(running, 100, ["big"], "b"))
            opened = await crowd.open("one", Opening(**base | {"at_once": 1}))
            self.note("big_room_join_p50_ms", members, opened.p50_ms)
            self.note("big_room_join_p99_ms", members, opened.p99_ms)

    async def history(self) -> None:
        """Pages of 50 in a collection of ten million messages: the newest, and from anywhere."""
        messages = self._scale.of(10_000_000, 2000)
        async with contenders.project() as running:
            assert running.cluster is not None
            await running.make_rooms({"long": ["reader"], "other": ["reader"]})
            mongod = running.cluster.servers["mongod"]
            assert isinstance(mongod, Mongod)
            await asyncio.to_thread(_fill, mongod.uri, messages)
            token = running.cluster.token("reader")
            url = running.cluster.node_urls[0]
            async with httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {token}"}) as http:
                for figure, positions in (
                    ("page_newest", [""] * 300),
                    ("page_anywhere", [f"&before=0-{2 + (number * 7919) % messages}" for number in range(300)]),
                ):
                    times = [await _page(http, position) for position in positions]
                    cuts = quantiles(times, n=100)
                    self.note(f"{figure}_p50_ms", messages, cuts[49])
                    self.note(f"{figure}_p99_ms", messages, cuts[98])

    async def soak(self) -> None:
        """Half the load for long: what grows that should not is a failure."""
        names = [f"room-{number}" for number in range(self._scale.of(100, 4))]
        count = self._scale.of(2000, 40)
        async with contenders.project() as running, Crowd(self._load) as crowd:
            await running.make_rooms(spread(names, "k", count) | spread(["talk"], "l", 50))
            await crowd.open("k", Opening(**measures.fields(opening(running, count, names, "k")) | {"pulse_s": 25.0}))
            await crowd.begin("k", Traffic(senders=min(100, count), rate=self._scale.of(500, 20)))
            began = time.monotonic()
            soak = Soak()
            while (age := time.monotonic() - began) < self._scale.soak_s:
                await crowd.open("come-and-go", opening(running, 50, ["talk"], "l"))
                await asyncio.sleep(_SOAK_EVERY_S / 2)
                await crowd.close("come-and-go")
                await asyncio.sleep(_SOAK_EVERY_S / 2)
                sample = await _held(running)
                soak.add(age, sample)
                counted = (await crowd.mark()).groups["k"]
                if counted.failed or counted.refused:
                    raise CrowdError(f"soak: {counted.problem}")
                for figure, value in {**sample, "ack_p99_ms": counted.ack_p99_ms}.items():
                    self.note(f"soak_{figure}", round(age), value)
            self.note("soak_history_lag", round(age), sum(await running.lags()))
            for figure, by in soak.growth().items():
                self.note(f"soak_{figure}_growth", round(age), by)
            if grown := soak.grown():
                raise CrowdError(f"soak: {', '.join(grown)} grew")


async def _held(running: Running) -> dict[str, float]:
    """Memory and files of the first node and the worker; tasks and subscriptions of the node."""
    found: dict[str, float] = {}
    for name, pid in {"node": running.servers[0], "worker": running.beside["worker"]}.items():
        found[f"{name}_rss_mib"] = machine.rss_kib(pid) / 1024
        found[f"{name}_files"] = machine.open_files(pid)
    metrics = await running.node_metrics()
    return found | {name: metrics[metric] for name, metric in _SOAK_METRICS.items()}


async def _page(http: httpx.AsyncClient, position: str) -> float:
    """Milliseconds that a page of 50 takes, through HTTP."""
    began = time.perf_counter()
    answer = await http.get(f"/v1/rooms/long/messages?limit=50{position}")
    took = (time.perf_counter() - began) * 1000
    page = msgspec.json.decode(answer.raise_for_status().content, type=MessagePage)
    if not page.messages:
        raise CrowdError("an empty page")
    return took


def _fill(uri: str, count: int) -> None:
    """Messages of an earlier epoch as the history writer would have written them: half in one room, half in others."""
    with MongoClient(uri) as client:
        database = client["chat"]
        for start in range(1, count + 1, _BULK):
            rows = [
                _row("long" if seq % 2 else f"other-{seq % 997}", seq)
                for seq in range(start, min(start + _BULK, count + 1))
            ]
            database[MESSAGES].insert_many(rows, ordered=False)


def _row(room: str, seq: int) -> dict[str, object]:
    return {
        "_id": {"room": room, "epoch": 0, "seq": seq},
        "kind": "message",
        "sender": f"user-{seq % 50}",
        "id": f"id-{seq}",
        "ts": 1_700_000_000_000 + seq,
        "rev": {"epoch": 0, "seq": 0},
        "body": {"kid": "plain", "data": b"a message of the usual length, about the course and what was said in it"},
    }


def main() -> int:
    parts = ("nodes", "rooms", "sockets", "idle", "big_room", "history", "soak")
    parser = argparse.ArgumentParser(description="How figures grow, on loopback.")
    parser.add_argument("--only", default=",".join(parts), help="parts, separated by commas")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--soak", type=float, default=1200.0, help="seconds")
    parser.add_argument("--out", type=Path, default=Path("build/bench-long.json"))
    options = parser.parse_args()
    about = machine.describe()
    growth = Growth(Scale(options.scale, options.soak))
    asyncio.run(growth.run(options.only.split(",")))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(growth.curve, indent=2) + "\n", "utf-8")
    options.out.with_suffix(".about.json").write_text(json.dumps(about, indent=2) + "\n", "utf-8")
    for failure in growth.failures:
        print(f"bench-long: failed: {failure}", file=sys.stderr)
    return 1 if growth.failures else 0


if __name__ == "__main__":
    sys.exit(main())
