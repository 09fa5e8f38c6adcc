"""Who is measured: how each is started, and which processes are its server."""

import asyncio
import os
import secrets
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx

from benchmarks import machine, programs
from benchmarks.crowd import Signer
from chatnode.local.children import Server, free_port
from chatnode.local.cluster import LocalCluster
from chatnode.local.probing import http_status

_MEMBERS_AT_ONCE: Final = 500
_SETTLE_S: Final = 1.0
_SETTLE_ROUNDS: Final = 120
_QUIET_CORES: Final = 0.06
_ISSUER: Final = "chatcluster-local"
_AUDIENCE: Final = "skillhub-chat"
LIMITS: Final = {
    "CHAT_COMMAND_RATE_PER_S": "1000000",
    "CHAT_CONNECTS_PER_S": "1000000",
    "CHAT_CONNECTS_BURST": "1000000",
    "CHAT_COMMAND_BURST": "1000000",
    "CHAT_MAX_CONNECTIONS": "100000",
    "CHAT_BATCH_WAITING_MAX": "20000",
}
"""Limits of one peer, out of the way: one client of a benchmark stands for many."""


@dataclass
class Running:
    """A contender that serves."""

    name: str
    dialect: str
    targets: Sequence[str]
    servers: Sequence[int]
    """Processes whose processor time and memory are the contender's."""
    signer: Signer
    beside: Mapping[str, int] = field(default_factory=dict)
    """Other processes that it needs, by name."""
    cluster: LocalCluster | None = None
    profiles: Path | None = None
    """Where profiles of the first server go."""

    @asynccontextmanager
    async def profiled(self, what: str) -> AsyncIterator[None]:
        """Sample the first server's stacks meanwhile, where that was asked for (needs ``py-spy`` on ``PATH``)."""
        if self.profiles is None:
            yield
            return
        file = self.profiles / f"{self.name}-{what}.raw"
        sampler = await asyncio.create_subprocess_exec(
            *("py-spy", "record", "--pid", str(self.servers[0]), "--rate", "400", "--gil"),
            *("--format", "raw", "--output", str(file)),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            yield
        finally:
            sampler.send_signal(signal.SIGINT)
            await sampler.wait()

    async def make_rooms(self, rooms: Mapping[str, Sequence[str]]) -> None:
        """Rooms with these members, where a contender knows members at all; when it returns, all that follows from
        them (a notice of each member to the room) is done."""
        if self.cluster is None:
            return
        headers = {"Authorization": f"Bearer {self.cluster.service_token()}"}
        async with httpx.AsyncClient(base_url=self.cluster.node_urls[0], headers=headers, timeout=30.0) as http:
            for room, users in rooms.items():
                for start in range(0, max(1, len(users)), _MEMBERS_AT_ONCE):
                    members = [{"user": user, "role": "learner"} for user in users[start : start + _MEMBERS_AT_ONCE]]
                    body = {"kind": "course", "title": room, "members": members}
                    (await http.put(f"/v1/rooms/{room}", json=body)).raise_for_status()
        await self._settle()

    async def lags(self) -> list[float]:
        """Stored events of each partition that are not in MongoDB yet, as the worker sees it."""
        assert self.cluster is not None
        metrics = await _metrics(f"http://127.0.0.1:{self.cluster.ports.worker_admin}")
        return [value for name, value in metrics.items() if name.startswith("chat_history_lag_events{")]

    async def node_metrics(self) -> dict[str, float]:
        """What the first node tells, by name and labels."""
        assert self.cluster is not None
        return await _metrics(self.cluster.admin_urls[0])

    async def _settle(self) -> None:
        """Until the worker and the nodes have nothing to do."""
        pids = [*self.servers, self.beside["worker"]]
        for _ in range(_SETTLE_ROUNDS):
            before = sum(map(machine.cpu_s, pids))
            await asyncio.sleep(_SETTLE_S)
            if sum(map(machine.cpu_s, pids)) - before < _QUIET_CORES * _SETTLE_S:
                return


async def _metrics(url: str) -> dict[str, float]:
    async with httpx.AsyncClient(timeout=10.0) as http:
        text = (await http.get(f"{url}/metrics")).raise_for_status().text
    lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


class _Other(Server):
    """A contender's server as a child."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str], probe_path: str) -> None:
        super().__init__(name, int(environment["BENCH_PORT"]))
        self._command = command
        self._environment = environment
        self._probe_path = probe_path

    def command(self) -> Sequence[str]:
        return self._command

    def environment(self) -> Mapping[str, str]:
        return {**os.environ, **self._environment}

    async def probe(self) -> bool:
        if not self._probe_path:
            return await _connects(self.port)
        return await http_status(self.port, self._probe_path) is not None


async def _connects(port: int) -> bool:
    _reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.close()
    return True


@asynccontextmanager
async def project(
    *,
    nodes: int = 1,
    sync_always: bool = False,
    settings: Mapping[str, str] | None = None,
    giving_way: Collection[str] = (),
) -> AsyncIterator[Running]:
    """The whole path: nodes, worker, nats-server, mongod, front door (through which nothing is measured)."""
    folder = Path(tempfile.mkdtemp(prefix="chat-bench-"))
    try:
        async with LocalCluster(
            folder / "cluster",
            nodes=nodes,
            sync_always=sync_always,
            settings={**LIMITS, **(settings or {})},
            giving_way=giving_way,
        ) as cluster:
            servers = cluster.servers
            secret = cluster.folder.secret.read_text("utf-8").strip()
            yield Running(
                "project",
                "chat",
                [url.removeprefix("http://") for url in cluster.node_urls],
                [cluster.node(index).pid for index in range(nodes)],
                Signer(secret, _ISSUER, _AUDIENCE),
                {name: servers[name].pid for name in ("nats-server", "mongod", "worker")},
                cluster,
            )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@asynccontextmanager
async def other(name: str) -> AsyncIterator[Running]:
    """``socketio``, ``starlette`` or ``floor``: one process, nothing stored."""
    secret = secrets.token_hex(32)
    port = free_port()
    env = {"BENCH_SECRET": secret, "BENCH_PORT": str(port)}
    root = str(programs.HERE.parent)
    if name == "socketio":
        folder = programs.socketio_folder()
        server = _Other(name, ("node", str(folder / "server.js")), env, "/socket.io/")
    else:
        file = "starlette_app.py" if name == "starlette" else "floor.py"
        command = (sys.executable, str(programs.HERE / "servers" / file))
        server = _Other(name, command, {**env, "PYTHONPATH": root}, "" if name == "floor" else "/")
    async with server:
        dialect = "socketio" if name == "socketio" else "plain"
        yield Running(name, dialect, [f"127.0.0.1:{port}"], [server.pid], Signer(secret, _ISSUER, _AUDIENCE))
