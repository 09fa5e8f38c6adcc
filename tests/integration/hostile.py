"""Peers that connect and say nothing, or next to nothing, while others talk: when they are cut, and what they cost.

``python -m tests.integration.hostile --peers 1000`` starts two nodes of its own, attacks one, and prints the figures.
Half of the peers are silent, half send one byte of a header each second. They live in a process of their own, so that
what is measured is the node and not them.
"""

import argparse
import asyncio
import secrets
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from chatnode.local.cluster import LocalCluster
from tests.integration.lines import SocketLine, lines
from tests.integration.promises import make_room

LISTENERS: Final = 20
PACE_S: Final = 0.02
COMING_PER_S: Final = 200
"""Peers come one after the other: a thousand are there after 5 s."""
_DRIP: Final = b"GET /v1/ws HTTP/1.1\r\nX-Slow: " + b"x" * 1000
_SETTINGS: Final = {"CHAT_COMMAND_RATE_PER_S": "2000", "CHAT_COMMAND_BURST": "2000"}


class Cuts(Struct, frozen=True):
    """Seconds from the connection to its end, of all peers."""

    peers: int
    first_s: float
    last_s: float


class Figures(Struct, frozen=True):
    peers: int
    cut_first_s: float
    cut_last_s: float
    before_p50_ms: float
    before_p99_ms: float
    during_p50_ms: float
    during_p99_ms: float
    after_p50_ms: float
    after_p99_ms: float
    beside_p50_ms: float
    """During the attack, at another node that nobody attacks."""
    beside_p99_ms: float
    deliveries: int

    @property
    def slowdown(self) -> float:
        """How many times as long the slowest hundredth of the deliveries took, against the worst of before, after and
        beside: what else the machine does comes and goes."""
        return self.during_p99_ms / max(self.before_p99_ms, self.after_p99_ms, self.beside_p99_ms)


async def hold(host: str, port: int, count: int) -> Cuts:
    """Open so many connections, say nothing or too little on them, and wait until the node has cut each."""
    seconds = await asyncio.gather(*(_peer(host, port, number) for number in range(count)))
    return Cuts(count, min(seconds), max(seconds))


async def _peer(host: str, port: int, number: int) -> float:
    await asyncio.sleep(number / COMING_PER_S)
    reader, writer = await asyncio.open_connection(host, port)
    began = time.monotonic()
    dripping = asyncio.create_task(_drip(writer)) if number % 2 else None
    try:
        await reader.read()
    except ConnectionError:
        """Cut is cut, whichever way."""
    finally:
        if dripping is not None:
            dripping.cancel()
            await asyncio.gather(dripping, return_exceptions=True)
        writer.transport.abort()
    return time.monotonic() - began


async def _drip(writer: asyncio.StreamWriter) -> None:
    for byte in _DRIP:
        writer.write(bytes([byte]))
        await asyncio.sleep(1.0)


async def measure(cluster: LocalCluster, peers: int, seconds: float) -> Figures:
    """Talk for so long, while hostile peers are connected to the first node, and for so long again; all the time others
    talk at the second node."""
    async with AsyncExitStack() as stack:
        attacked, other = [await _meet(cluster, node, stack) for node in (0, 1)]
        await asyncio.gather(_talk(attacked, 1.0), _talk(other, 1.0))
        before, _ = await asyncio.gather(_talk(attacked, seconds), _talk(other, seconds))
        host, port = attacked.people[0].url.removeprefix("http://").split(":")
        attack = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", __spec__.name if __name__ == "__main__" else __name__),
            *("--attack", host, port, "--peers", str(peers)),
            stdout=asyncio.subprocess.PIPE,
        )
        during: list[float] = []
        beside: list[float] = []
        answer = asyncio.create_task(attack.communicate())
        while not answer.done():
            some, others = await asyncio.gather(_talk(attacked, 1.0), _talk(other, 1.0))
            during += some
            beside += others
        out, _ = await answer
        cuts = msgspec.json.decode(out, type=Cuts)
        after, _ = await asyncio.gather(_talk(attacked, seconds), _talk(other, seconds))
    return Figures(
        peers,
        round(cuts.first_s, 2),
        round(cuts.last_s, 2),
        *(_percentile(before, 50), _percentile(before, 99)),
        *(_percentile(during, 50), _percentile(during, 99)),
        *(_percentile(after, 50), _percentile(after, 99)),
        *(_percentile(beside, 50), _percentile(beside, 99)),
        len(before) + len(during) + len(after),
    )


@dataclass(frozen=True)
class _Company:
    """People in a room, all at one node."""

    room: str
    people: Sequence[SocketLine]


async def _meet(cluster: LocalCluster, node: int, stack: AsyncExitStack) -> _Company:
    users = [f"u{node}-{number}" for number in range(LISTENERS)]
    room = await make_room(cluster, users)
    people = [SocketLine(cluster.node_urls[node], cluster.token(user), {room: None}) for user in users]
    await stack.enter_async_context(lines(*people))
    for each in people:
        await each.subscribed(room)
    return _Company(room, people)


async def _talk(company: _Company, seconds: float) -> list[float]:
    """Milliseconds from each send to each delivery."""
    people = company.people
    latencies: list[float] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        text = secrets.token_hex(8)
        began = time.monotonic()

        async def heard(line: SocketLine, text: str = text, began: float = began) -> None:
            await line.until(lambda frame: frame.get("kind") == "message" and frame["text"] == text)
            latencies.append((time.monotonic() - began) * 1000)

        waiting = [asyncio.create_task(heard(each)) for each in people]
        assert (await people[0].send(company.room, text))["type"] == "ack"
        await asyncio.gather(*waiting)
        for each in people:
            each.frames.clear()
        await asyncio.sleep(PACE_S)
    return latencies


def _percentile(values: Sequence[float], percent: int) -> float:
    return round(sorted(values)[min(len(values) - 1, len(values) * percent // 100)], 2)


async def _run(peers: int, seconds: float) -> Figures:
    with tempfile.TemporaryDirectory() as folder:
        async with LocalCluster(Path(folder) / "data", nodes=2, settings=_SETTINGS) as cluster:
            return await measure(cluster, peers, seconds)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.integration.hostile", description=__doc__)
    parser.add_argument("--peers", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=12.0, help="of talking before the peers come, and after")
    parser.add_argument("--attack", nargs=2, metavar=("HOST", "PORT"), help="be the peers, of this node")
    options = parser.parse_args()
    if options.attack is not None:
        cuts = asyncio.run(hold(options.attack[0], int(options.attack[1]), options.peers))
        sys.stdout.buffer.write(msgspec.json.encode(cuts))
        return 0
    figures = asyncio.run(_run(options.peers, options.seconds))
    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(figures)) + b"\n")
    sys.stdout.write(f"p99 of delivery: {figures.slowdown:.2f} times what it is without them\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
