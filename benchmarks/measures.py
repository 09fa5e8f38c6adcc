"""One figure each, measured alike for every contender."""

import asyncio
import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks import machine
from benchmarks.contenders import Running
from benchmarks.crowd import Crowd, CrowdError, Marked, Opening, Traffic
from benchmarks.machine import Spent

Figures = dict[str, float]

SENDER_ROOMS: Final = 8
_LEVEL_S: Final = 60.0
_NATS_RATE: Final = re.compile(r"([\d,]+) msgs/sec")


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything; counts of sockets, seconds, messages."""

    fanout_sockets: int = 2000
    fanout_rate: float = 10.0
    saturation_sockets: int = 500
    idle_sockets: int = 8000
    connects: int = 4000
    senders: int = 200
    window: int = 16
    cross_rate: float = 1000.0
    bench_messages: int = 100_000
    warm_s: float = 3.0
    measure_s: float = 10.0
    bytes: int = 100

    @classmethod
    def quick(cls) -> "Sizes":
        return cls(
            fanout_sockets=200,
            saturation_sockets=50,
            idle_sockets=1000,
            connects=400,
            senders=40,
            cross_rate=200.0,
            bench_messages=10_000,
            warm_s=1.0,
            measure_s=3.0,
        )


@dataclass(frozen=True, slots=True)
class Period:
    """What clients saw and what processors did in one period."""

    marked: Marked
    spent: Spent

    def shares(self, prefix: str) -> Figures:
        """Cores in use, so that a reader sees who was the bottleneck."""
        seconds = self.marked.seconds
        figures = {
            f"{prefix}_server_cores": self.spent.server / seconds,
            f"{prefix}_crowd_cores": self.marked.cpu_s / seconds,
            f"{prefix}_machine_cores": self.spent.machine / seconds,
        }
        figures |= {
            f"{prefix}_{name.replace('-', '_')}_cores": spent / seconds for name, spent in self.spent.beside.items()
        }
        return figures


async def watch(running: Running, crowd: Crowd, sizes: Sizes, what: str) -> Period:
    """One period of what goes on, after a while for warming up."""
    await asyncio.sleep(sizes.warm_s)
    async with running.profiled(what):
        await crowd.mark()
        before = Spent.now(running.servers, running.beside)
        await asyncio.sleep(sizes.measure_s)
        after = Spent.now(running.servers, running.beside)
        marked = await crowd.mark()
    for name, counted in marked.groups.items():
        if counted.failed or counted.refused:
            raise CrowdError(
                f"{running.name}, {name}: {counted.failed} failed, {counted.refused} refused: {counted.problem}"
            )
    return Period(marked, after.since(before))


def opening(running: Running, count: int, rooms: Sequence[str], user: str, **more: object) -> Opening:
    return Opening(
        targets=running.targets,
        dialect=running.dialect,
        count=count,
        signer=running.signer,
        user=user,
        rooms=rooms,
        **more,  # type: ignore[arg-type]
    )


def spread(rooms: Sequence[str], user: str, count: int) -> dict[str, list[str]]:
    """Members of each room, as the crowd's sockets will follow them."""
    return {room: [f"{user}{number}" for number in range(at, count, len(rooms))] for at, room in enumerate(rooms)}


async def fanout(running: Running, crowd: Crowd, sizes: Sizes) -> Figures:
    """Server CPU of one delivery, few messages to many sockets: nothing can be joined."""
    await running.make_rooms(spread(["fan"], "f", sizes.fanout_sockets))
    await crowd.open("fan", opening(running, sizes.fanout_sockets, ["fan"], "f"))
    await crowd.begin("fan", Traffic(senders=1, rate=sizes.fanout_rate, bytes=sizes.bytes))
    period = await watch(running, crowd, sizes, "fanout")
    await crowd.close("fan")
    counted = period.marked.groups["fan"]
    expected = sizes.fanout_rate * sizes.fanout_sockets * period.marked.seconds
    if not counted.delivered:
        raise CrowdError(f"{running.name}: nothing was delivered")
    return {
        "fanout_cpu_us": period.spent.server / counted.delivered * 1e6,
        "fanout_reached": counted.delivered / expected,
        "fanout_p50_ms": counted.p50_ms,
        "fanout_p99_ms": counted.p99_ms,
        **period.shares("fanout"),
    }


async def saturation(running: Running, crowd: Crowd, sizes: Sizes) -> Figures:
    """Deliveries a second when ten of the members send as fast as they see their own messages."""
    await running.make_rooms(spread(["full"], "s", sizes.saturation_sockets))
    await crowd.open("full", opening(running, sizes.saturation_sockets, ["full"], "s"))
    await crowd.begin("full", Traffic(senders=10, window=20, by="echo", bytes=sizes.bytes))
    period = await watch(running, crowd, sizes, "saturation")
    await crowd.close("full")
    counted = period.marked.groups["full"]
    if not counted.delivered:
        raise CrowdError(f"{running.name}: nothing was delivered")
    return {
        "saturation_per_s": counted.delivered / period.marked.seconds,
        "saturation_cpu_us": period.spent.server / counted.delivered * 1e6,
        "saturation_p50_ms": counted.p50_ms,
        "saturation_p99_ms": counted.p99_ms,
        **period.shares("saturation"),
    }


async def connects(running: Running, crowd: Crowd, sizes: Sizes) -> Figures:
    """Sockets a second, until each is authenticated; and until each follows its room."""
    rooms = [f"con-{number}" for number in range(max(1, sizes.connects // 100))]
    await running.make_rooms(spread(rooms, "c", sizes.connects))
    figures: Figures = {}
    for figure, followed in (("connects", []), ("joins", rooms)):
        await crowd.mark()
        before = Spent.now(running.servers, running.beside)
        async with running.profiled(figure):
            opened = await crowd.open(figure, opening(running, sizes.connects, followed, "c"))
        spent = Spent.now(running.servers, running.beside).since(before)
        marked = await crowd.mark()
        await crowd.close(figure)
        await asyncio.sleep(1.0)
        figures |= {
            f"{figure}_per_s": opened.opened / opened.seconds,
            f"{figure}_p50_ms": opened.p50_ms,
            f"{figure}_p99_ms": opened.p99_ms,
            f"{figure}_cpu_us": spent.server / opened.opened * 1e6,
            **Period(marked, spent).shares(figure),
        }
    return figures


async def idle(running: Running, crowd: Crowd, sizes: Sizes) -> Figures:
    """Memory of a socket that is authenticated and follows a room of a hundred, and does nothing."""
    rooms = [f"idle-{number}" for number in range(max(1, sizes.idle_sockets // 100))]
    await running.make_rooms(spread(rooms, "i", sizes.idle_sockets))
    await running.make_rooms({"warm": [f"w{number}" for number in range(200)]})
    await crowd.open("warm", opening(running, 200, ["warm"], "w"))
    await asyncio.sleep(sizes.warm_s)
    before = sum(map(machine.rss_kib, running.servers))
    await crowd.open("idle", opening(running, sizes.idle_sockets, rooms, "i"))
    await asyncio.sleep(sizes.warm_s)
    after = sum(map(machine.rss_kib, running.servers))
    await crowd.mark()
    period = await watch(running, crowd, sizes, "idle")
    await crowd.close("idle")
    await crowd.close("warm")
    return {
        "idle_kib": (after - before) / sizes.idle_sockets,
        "idle_rss_mib": after / 1024,
        **period.shares("idle"),
    }


async def acked(running: Running, crowd: Crowd, sizes: Sizes, suffix: str) -> Figures:
    """Sends a second that were stored and acknowledged; senders in rooms of their own, so that nothing else is done."""
    rooms = [f"ack-{suffix}-{number}" for number in range(sizes.senders)]
    await running.make_rooms(spread(rooms, "a", sizes.senders))
    await crowd.open("ack", opening(running, sizes.senders, rooms, "a"))
    await crowd.begin("ack", Traffic(senders=sizes.senders, window=sizes.window, by="ack", bytes=sizes.bytes))
    period = await watch(running, crowd, sizes, f"acked-{suffix}")
    await crowd.quiet("ack")
    level_s = await history_level(running)
    await crowd.close("ack")
    counted = period.marked.groups["ack"]
    if not counted.acked:
        raise CrowdError(f"{running.name}: nothing was acknowledged")
    return {
        f"acked_per_s_{suffix}": counted.acked / period.marked.seconds / len(running.servers),
        f"acked_cpu_us_{suffix}": period.spent.server / counted.acked * 1e6,
        f"acked_p50_ms_{suffix}": counted.ack_p50_ms,
        f"acked_p99_ms_{suffix}": counted.ack_p99_ms,
        f"acked_level_s_{suffix}": level_s,
        **period.shares(f"acked_{suffix}"),
    }


async def history_level(running: Running) -> float:
    """Seconds until the history writer has written all that is stored."""
    began = time.monotonic()
    while sum(await running.lags()) > 0:
        if time.monotonic() - began > _LEVEL_S:
            raise CrowdError(f"{running.name}: history is not level after {_LEVEL_S:.0f} s")
        await asyncio.sleep(0.25)
    return time.monotonic() - began


async def cross_node(running: Running, crowd: Crowd, sizes: Sizes, suffix: str = "") -> Figures:
    """From a send at one node to its delivery by the other, at a steady rate."""
    rooms = [f"cross-{number}" for number in range(10)]
    members = spread(rooms, "x", 10)
    for room, users in spread(rooms, "y", 10).items():
        members[room] += users
    await running.make_rooms(members)
    here, there = running.targets[:2]
    near = opening(running, 10, rooms, "x")
    await crowd.open("near", Opening(**{**fields(near), "targets": [here]}))
    await crowd.open("far", Opening(**{**fields(near), "targets": [there], "user": "y"}))
    await crowd.begin("near", Traffic(senders=10, rate=sizes.cross_rate, bytes=sizes.bytes))
    period = await watch(running, crowd, sizes, "cross_node")
    await crowd.close("near")
    await crowd.close("far")
    counted = period.marked.groups["far"]
    return {
        f"cross_node_p50_ms{suffix}": counted.p50_ms,
        f"cross_node_p99_ms{suffix}": counted.p99_ms,
        **period.shares(f"cross_node{suffix}"),
    }


def fields(value: Opening) -> dict[str, Any]:
    """The fields of an opening, to make another one that differs."""
    return {name: getattr(value, name) for name in value.__struct_fields__}


async def nats_bench(running: Running, program: Path, sizes: Sizes, suffix: str) -> Figures:
    """What one client of NATS reaches on the same server, with asynchronous publishes into a stream of its own."""
    assert running.cluster is not None
    url = getattr(running.cluster.servers["nats-server"], "url")  # noqa: B009  the property of one kind of server
    arguments = ("bench", "js", "pub", "async", "bench.load", "--create", "--stream", f"BENCH_{suffix.upper()}")
    arguments += ("--storage", "file", "--msgs", str(sizes.bench_messages), "--size", "256", "--no-progress")
    process = await asyncio.create_subprocess_exec(
        program,
        *("--server", url, *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "HOME": "/nonexistent", "XDG_CONFIG_HOME": "/nonexistent"},
    )
    async with asyncio.timeout(120):
        output, _ = await process.communicate()
    rates = _NATS_RATE.findall(output.decode(errors="replace"))
    if process.returncode or not rates:
        raise CrowdError(f"nats bench: {output.decode(errors='replace')[-600:]}")
    return {f"acked_per_s_{suffix}": float(rates[-1].replace(",", ""))}
