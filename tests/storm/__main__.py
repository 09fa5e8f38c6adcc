"""``make storm``: thousands of sockets on two nodes; one node dies, then both; ``build/storm.json`` has the figures."""

import argparse
import asyncio
import contextlib
import random
import shutil
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

import httpx
import msgspec
import uvloop

from chatclient import Client
from tests.chaos.cluster import Cluster
from tests.storm.figures import Storm, tell_chaos
from tests.storm.person import Person, Place, Tally

_PER_ROOM: Final = 100
_PER_SOURCE: Final = 8_000
_GIVE_UP_S: Final = 180.0


class Writer:
    """Says 1, 2, 3… in some rooms, and goes on whatever happens to its node."""

    def __init__(self, client: Client, rooms: Sequence[str], pace_s: float) -> None:
        self._client = client
        self._rooms = rooms
        self._pace_s = pace_s
        self.said = dict.fromkeys(rooms, 0)
        self.ended = asyncio.Event()

    async def run(self) -> None:
        async with self._client:
            while not self.ended.is_set():
                for room in self._rooms:
                    await self._client.send(room, str(self.said[room] + 1))
                    self.said[room] += 1
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.ended.wait(), self._pace_s)


async def storm(sockets: int, directory: Path, say: Callable[[str], None]) -> Storm:
    shutil.rmtree(directory, ignore_errors=True)
    rooms = [f"room-{number}" for number in range(max(1, sockets // _PER_ROOM))]
    members = {room: [f"{room}-{seat}" for seat in range(sockets // len(rooms))] for room in rooms}
    async with Cluster(directory, nodes=2, workers=1) as cluster:
        await _make_rooms(cluster, members)
        say(f"{len(rooms)} rooms are there")
        places = [Place(node.site.host, node.port or 0) for node in cluster.nodes]
        tally, draw = Tally(), random.Random(1).random
        people = [
            Person(room, cluster.token(user), places, number, _source(number), tally, draw)
            for number, (room, user) in enumerate((room, user) for room in rooms for user in members[room])
        ]
        try:
            began = time.monotonic()
            for start in range(0, len(people), 100):
                await asyncio.gather(*(person.dial() for person in people[start : start + 100]))
            connect_s = await _until_joined(people, began, say)
            memory = Memory([cluster.nodes[0].pid, cluster.nodes[1].pid])
            writers = [
                Writer(Client(cluster.socket_urls, cluster.token(f"writer-{n}"), timeout=120.0), rooms[n::20], 4.0)
                for n in range(min(20, len(rooms)))
            ]
            async with asyncio.TaskGroup() as group:
                for writer in writers:
                    group.create_task(writer.run())
                await asyncio.sleep(10.0)
                say("one node is killed")
                began = time.monotonic()
                await cluster.nodes[0].kill()
                storm_s = await _until_joined(people, began, say)
                memory.look(cluster.nodes[1].pid)
                await cluster.nodes[0].start()
                await asyncio.sleep(5.0)
                say("both nodes are killed")
                began = time.monotonic()
                await asyncio.gather(*(node.kill() for node in cluster.nodes))
                await asyncio.gather(*(node.start() for node in cluster.nodes))
                restarted_s = time.monotonic() - began
                storm_all_s = await _until_joined(people, began, say)
                for node in cluster.nodes:
                    memory.look(node.pid)
                await asyncio.sleep(5.0)
                for writer in writers:
                    writer.ended.set()
            last = {room: said for writer in writers for room, said in writer.said.items()}
            behind = await _behind(people, [last[room] for room in rooms for _ in members[room]])
        finally:
            for person in people:
                await person.stop()
        return Storm(
            sockets=len(people),
            rooms=len(rooms),
            connect_s=round(connect_s, 2),
            storm_s=round(storm_s, 2),
            storm_all_s=round(storm_all_s, 2),
            restarted_s=round(restarted_s, 2),
            messages=sum(last.values()),
            gaps=tally.gaps,
            copies=tally.copies,
            reloads=tally.reloads,
            behind=behind,
            attempts=tally.attempts,
            refused=tally.refused,
            unreachable=tally.unreachable,
            late=tally.late,
            node_mib=memory.highest,
        )


class Memory:
    """The highest resident memory of processes, from the kernel's own mark (``VmHWM``, proc(5))."""

    def __init__(self, pids: Sequence[int]) -> None:
        self._seen: dict[int, float] = {}
        for pid in pids:
            self.look(pid)

    def look(self, pid: int) -> None:
        status = Path("/proc", str(pid), "status").read_text("ascii")
        kib = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
        self._seen[pid] = max(self._seen.get(pid, 0.0), kib / 1024)

    @property
    def highest(self) -> tuple[float, ...]:
        return tuple(round(mib, 1) for mib in self._seen.values())


def _source(number: int) -> str:
    """An address of loopback for each some thousand sockets: ports are counted per address."""
    return f"127.0.1.{1 + number // _PER_SOURCE}"


async def _make_rooms(cluster: Cluster, members: dict[str, list[str]]) -> None:
    headers = {"authorization": f"Bearer {cluster.token('platform', scopes=('chat:admin',))}"}
    async with httpx.AsyncClient(base_url=cluster.nodes[0].url, headers=headers, timeout=60.0) as http:
        for number, (room, users) in enumerate(members.items()):
            everybody = [*users, f"writer-{number % 20}"]
            body = {"kind": "course", "title": room, "members": [{"user": u, "role": "learner"} for u in everybody]}
            (await http.put(f"/v1/rooms/{room}", json=body)).raise_for_status()


async def _until_joined(people: Sequence[Person], began: float, say: Callable[[str], None]) -> float:
    """Seconds since ``began`` when all were in their rooms; :class:`TimeoutError` when they do not come."""
    told = began
    async with asyncio.timeout(_GIVE_UP_S):
        while (away := sum(not person.joined for person in people)) > 0:
            if time.monotonic() - told > 2.0:
                told = time.monotonic()
                say(f"{away} are away")
            await asyncio.sleep(0.05)
    say(f"all are there after {time.monotonic() - began:.1f} s")
    return time.monotonic() - began


async def _behind(people: Sequence[Person], last: Sequence[int]) -> int:
    def count() -> int:
        return sum(person.last != number for person, number in zip(people, last, strict=True))

    deadline = time.monotonic() + 10.0
    while count() and time.monotonic() < deadline:
        await asyncio.sleep(0.1)
    return count()


def main() -> int:
    parser = argparse.ArgumentParser(prog="make storm", description=__doc__)
    parser.add_argument("--sockets", type=int, default=8_000)
    parser.add_argument("--out", type=Path, default=Path("build/storm.json"))
    chosen = parser.parse_args()
    began = time.monotonic()

    def say(words: str) -> None:
        print(f"[{time.monotonic() - began:6.1f}] {words}", flush=True)

    work: Awaitable[Storm] = storm(chosen.sockets, chosen.out.with_suffix("").absolute(), say)
    found = uvloop.run(work)
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.write_bytes(msgspec.json.format(msgspec.json.encode(found)) + b"\n")
    tell_chaos(found, chosen.out.with_name("chaos.json"))
    print(chosen.out.read_text("utf-8"))
    return 0 if found.ok else 1


if __name__ == "__main__":
    sys.exit(main())
