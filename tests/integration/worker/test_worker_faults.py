"""The worker while something is killed or paused: nothing is lost, nothing comes twice, the order stays."""

import asyncio
import os
import random
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from chatnode.local.servers import Mongod, NatsServer
from chatnode.protocol.control import MemberPut
from tests.integration.worker_bench import ROOM, Bench, bench_on, message, until, working

PROGRAM = """
import asyncio, logging, os, sys
from chatnode.settings import Settings
from chatnode.worker.main import run_worker
from chatnode.worker.stream import Rhythm
logging.basicConfig(level="INFO", format="%(asctime)s %(name)s %(message)s")
asyncio.run(run_worker(Settings.from_env(os.environ), lease=2.0, rhythm=Rhythm(renew=0.5, check=0.5, idle=0.1)))
"""


class Process:
    """A worker as a process of its own."""

    def __init__(self, bench: Bench, name: str, log: Path) -> None:
        self._environment = {
            **os.environ,
            "CHAT_NATS_URL": bench.settings.nats_url,
            "CHAT_MONGODB_URI": bench.settings.mongodb_uri,
            "CHAT_MONGODB_DATABASE": bench.settings.mongodb_database,
            "CHAT_NODE_ID": name,
            "CHAT_ADMIN_PORT": "0",
            "CHAT_STREAM_MAX_BYTES": str(bench.settings.stream_max_bytes),
        }
        self._log = log
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with self._log.open("ab") as sink:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", PROGRAM, env=self._environment, stdout=sink, stderr=sink
            )

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    async def ended(self) -> int:
        assert self._process is not None
        return await self._process.wait()

    async def kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()


@asynccontextmanager
async def processes(bench: Bench, directory: Path, count: int) -> AsyncIterator[list[Process]]:
    started = [Process(bench, f"w{number}", directory / f"w{number}.log") for number in range(count)]
    try:
        for process in started:
            await process.start()
        yield started
    finally:
        for process in started:
            await process.kill()


async def test_a_worker_ends_cleanly_on_sigterm(bench: Bench, tmp_path: Path) -> None:
    async with processes(bench, tmp_path, 1) as (worker,):
        await bench.has_streams()
        await bench.send("a")
        await bench.shows("a")
        worker.signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            assert await worker.ended() == 0
        assert "Traceback" not in (tmp_path / "w0.log").read_text()


async def test_killed_at_any_moment_and_started_again_it_loses_nothing(bench: Bench, tmp_path: Path) -> None:
    sent: list[str] = []

    async def produce() -> None:
        for number in range(90):
            await bench.send(str(number))
            sent.append(str(number))
            await asyncio.sleep(0.03)

    moment = random.Random(5)
    async with processes(bench, tmp_path, 1) as (worker,):
        await bench.has_streams()
        producing = asyncio.create_task(produce())
        while not producing.done():
            await asyncio.sleep(moment.uniform(0.3, 1.5))
            await worker.kill()
            await worker.start()
        await producing
        await bench.shows(*sent)


async def test_another_worker_takes_over_from_one_that_is_paused_and_which_changes_nothing_when_it_comes_back(
    bench: Bench, tmp_path: Path
) -> None:
    async with processes(bench, tmp_path, 2) as workers:
        await bench.has_streams()
        sent: list[str] = []
        for turn in range(4):
            paused = workers[turn % 2]
            paused.signal(signal.SIGSTOP)
            for number in range(10):
                sent.append(f"{turn}-{number}")
                await bench.send(sent[-1])
            await bench.shows(*sent)
            paused.signal(signal.SIGCONT)
        await bench.send("last")
        await bench.shows(*sent, "last")


async def test_while_mongodb_is_away_nothing_is_lost(nats_server: NatsServer, tmp_path: Path) -> None:
    async with (
        Mongod(tmp_path / "mongod") as mongod,
        bench_on(nats_server.url, mongod.uri, "chat") as bench,
        working(bench.settings),
    ):
        await bench.has_streams()
        await bench.send("before")
        await bench.shows("before")
        await mongod.kill()
        await bench.send("meanwhile")
        await bench.control.publish_control(MemberPut(id="m", actor="p", ts=1, room=ROOM, user="bob", role="learner"))
        await asyncio.sleep(2)
        await mongod.start()
        await bench.shows("before", "meanwhile")
        mongod.pause()
        await bench.send("silence")
        await asyncio.sleep(2)
        mongod.resume()
        await bench.shows("before", "meanwhile", "silence")

        async def told() -> bool:
            return any(each.notice for each in (await bench.history.page(ROOM, limit=100)).messages)

        await until(told)


async def test_while_nats_is_away_nothing_is_lost(bench: Bench, nats_server: NatsServer) -> None:
    async with working(bench.settings):
        await bench.has_streams()
        await bench.send("before")
        await bench.shows("before")
        await nats_server.kill()
        await asyncio.sleep(0.5)
        await nats_server.start()
        await bench.send("after")
        await bench.shows("before", "after")
        nats_server.pause()
        await asyncio.sleep(2)
        nats_server.resume()
        await bench.send("later")
        await bench.shows("before", "after", "later")
    found = await bench.found()
    await bench.has_watermark(1, found.state.last_seq)
    assert found.epoch == 1


async def test_a_worker_starts_before_its_servers_and_waits_for_them(tmp_path: Path) -> None:
    nats, mongod = NatsServer(tmp_path / "nats"), Mongod(tmp_path / "mongod")
    settings = None
    async with nats, mongod, bench_on(nats.url, mongod.uri, "chat") as bench:
        settings = bench.settings
    async with working(settings):
        await asyncio.sleep(0.5)
        async with mongod:
            await asyncio.sleep(0.5)
            async with nats, bench_on(nats.url, mongod.uri, "chat") as bench:
                await bench.store(message("here"))
                await bench.shows("here")
