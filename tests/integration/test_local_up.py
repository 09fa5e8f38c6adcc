"""``chatcluster up`` as people run it: a process, its output, its exit code, and what it leaves behind."""

import asyncio
import contextlib
import os
import random
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import httpx
import pytest

from chatnode.local.chat_process import Ports

ROOT = str(Path(__file__).parents[2])


class Up:
    """A running ``chatcluster up``."""

    def __init__(self, process: asyncio.subprocess.Process, front: int) -> None:
        self.process = process
        self.url = f"http://127.0.0.1:{front}"
        self.output: list[str] = []

    async def until(self, words: str) -> str:
        """The next line that holds ``words``."""
        assert self.process.stdout is not None
        while line := (await self.process.stdout.readline()).decode():
            self.output.append(line)
            if words in line:
                return line
        raise AssertionError(f"it ended without {words!r}:\n{''.join(self.output)}")

    async def end(self) -> tuple[int, str]:
        """Its exit code, and all that it printed."""
        assert self.process.stdout is not None
        self.output += (await self.process.stdout.read()).decode().splitlines(keepends=True)
        return await self.process.wait(), "".join(self.output)

    def child(self, words: str) -> int:
        """Process id of the child whose command line holds ``words``."""
        return next(pid for pid in self.children() if words in _command_line(pid))

    def children(self) -> list[int]:
        return [pid for pid in _processes() if _parent(pid) == self.process.pid]


def _processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]


def _exists(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


@contextlib.asynccontextmanager
async def up(
    data: Path, *arguments: str, ports: Ports | None = None, env: Mapping[str, str] | None = None
) -> AsyncIterator[Up]:
    front, admin = _consecutive_ports() if ports is None else (ports.front, ports.nodes[0].admin_port)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "chatnode.cli", "up", "--data", str(data)),
        *("--port", str(front), "--admin-port", str(admin), *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "PYTHONPATH": ROOT, **(env or {})},
    )
    run = Up(process, front)
    try:
        yield run
    finally:
        if process.returncode is None:
            process.kill()
        await run.end()


def _consecutive_ports() -> tuple[int, int]:
    """Two ports that begin four free ones each, from below the range that other tests' free ports come from."""
    while True:
        with contextlib.ExitStack() as stack:
            starts = []
            try:
                for _ in range(2):
                    starts.append(random.randrange(12_000, 32_000, 4))
                    for offset in range(4):
                        stack.enter_context(socket.create_server(("127.0.0.1", starts[-1] + offset)))
            except OSError:
                continue
            return starts[0], starts[1]


async def _refused(
    data: Path, *arguments: str, ports: Ports | None = None, env: Mapping[str, str] | None = None
) -> str:
    """The one line with which it ends when it cannot run; nothing is left running."""
    async with up(data, *arguments, ports=ports, env=env) as run:
        async with asyncio.timeout(40):
            code, output = await run.end()
        assert code == 1, output
        assert not [pid for pid in _processes() if str(data) in _command_line(pid)]
        line = output.splitlines()[-1]
        assert line.startswith("chatcluster: "), output
        assert sum(text.startswith("chatcluster: ") for text in output.splitlines()) == 1
        return line


async def test_a_killed_child_comes_back_and_sigterm_leaves_nothing(tmp_path: Path) -> None:
    async with up(tmp_path) as run, httpx.AsyncClient(timeout=10) as http:
        async with asyncio.timeout(60):
            await run.until("Ctrl-C stops everything")
        assert "Amina Diallo" in "".join(run.output)
        assert (await http.get(f"{run.url}/v1/demo/users")).status_code == 200

        for words, name in (("chatnode.cli node", "node-"), ("chatnode.cli worker", "worker"), ("mongod", "mongod")):
            os.kill(run.child(words), signal.SIGKILL)
            async with asyncio.timeout(60):
                line = await run.until("ended with SIGKILL; starting it again in")
                assert name in line
                await run.until(" ready on ")

        children = run.children()
        assert len(children) == 6
        run.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(40):
            code, output = await run.end()
        assert code == 0, output
        assert not [pid for pid in children if _exists(pid)]
        stopped = [line.split()[0] for line in output.splitlines() if line.endswith("│ stopped")]
        assert sorted(stopped[:2]) == ["node-1", "node-2"]
        assert stopped[2:] == ["worker", "front", "nats-server", "mongod"]


async def test_the_second_interrupt_stops_at_once(tmp_path: Path) -> None:
    slow = {"CHAT_DRAIN_WINDOW_S": "300", "CHAT_DRAIN_SETTLE_S": "300"}
    async with up(tmp_path, "--no-demo", "--nodes", "1", env=slow) as run:
        async with asyncio.timeout(60):
            await run.until("Ctrl-C stops everything")
        children = run.children()
        os.kill(run.child("chatnode.cli node"), signal.SIGSTOP)
        run.process.send_signal(signal.SIGINT)
        await run.until("once more to stop at once")
        run.process.send_signal(signal.SIGINT)
        async with asyncio.timeout(10):
            await run.end()
        assert not [pid for pid in children if _exists(pid)]


async def test_an_interrupt_while_it_starts_leaves_nothing(tmp_path: Path) -> None:
    async with up(tmp_path) as run:
        await run.until("starting")
        run.process.send_signal(signal.SIGINT)
        async with asyncio.timeout(30):
            code, output = await run.end()
        assert code == 130, output
        assert not [pid for pid in _processes() if str(tmp_path) in _command_line(pid)]


@pytest.mark.parametrize("which", ["front", "node", "admin", "worker"])
async def test_a_taken_port_is_named(tmp_path: Path, which: str) -> None:
    front, admin = _consecutive_ports()
    ports = Ports.counted(front, admin, 2)
    taken = {"front": front, "node": front + 2, "admin": admin, "worker": admin + 2}[which]
    with socket.create_server(("127.0.0.1", taken)):
        assert f"port {taken} " in await _refused(tmp_path, ports=ports)


async def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    line = await _refused(Path("/proc/chatcluster"))
    assert "cannot use the data folder /proc/chatcluster" in line
    assert "--data" in line


async def test_a_second_run_on_the_same_data_is_refused(tmp_path: Path) -> None:
    async with up(tmp_path, "--no-demo") as first:
        await first.until("starting")
        async with up(tmp_path) as second:
            code, output = await second.end()
        assert code == 1
        assert f"in use by another run (process {first.process.pid})" in output


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (
            "echo 'mongod: error while loading shared libraries: libcurl.so.4: cannot open' >&2; exit 127",
            "apt-get install libcurl4",
        ),
        ("echo 'no such feature'; exit 3", "mongod ended with exit code 3: no such feature"),
        ("kill -SEGV $$", "mongod ended with SIGSEGV"),
    ],
)
async def test_a_child_that_cannot_run_is_one_line(tmp_path: Path, script: str, words: str) -> None:
    program = tmp_path / "mongod"
    program.write_text(f"#!/bin/sh\n{script}\n", "utf-8")
    program.chmod(0o755)
    assert words in await _refused(tmp_path / "data", env={"CHAT_MONGOD": str(program)})


@pytest.mark.parametrize(
    ("variable", "value"),
    [("CHAT_NATS_URL", "nats://u:pw@127.0.0.1:1"), ("CHAT_MONGODB_URI", "mongodb://u:pw@127.0.0.1:1/?replicaSet=x")],
)
async def test_an_existing_server_that_does_not_answer_is_named_without_its_credentials(
    tmp_path: Path, variable: str, value: str
) -> None:
    line = await _refused(tmp_path, env={variable: value})
    assert variable in line
    assert "pw" not in line
