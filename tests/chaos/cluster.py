"""The replicated cluster: three nats-servers, three mongods, nodes and workers, each at a site of its own."""

import asyncio
import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import httpx
import msgspec
import nats

from chatnode.broker.connection import AWAY
from chatnode.broker.subjects import PARTITIONS, stream_name
from chatnode.identity.tokens import TokenIssuer, issuer_for
from chatnode.local.children import HeldPort
from chatnode.settings import Settings
from tests.chaos.clock import Clock, build
from tests.chaos.disk import Disk
from tests.chaos.servers import ChatMember, Member, MongoMember, NatsMember, NatsPlace, Site, initiate

_ROOT: Final = str(Path(__file__).parents[2])
_SETTINGS: Final = {
    "CHAT_STREAM_REPLICAS": "3",
    "CHAT_STREAM_MAX_BYTES": "128MiB",
    "CHAT_COMMAND_RATE_PER_S": "2000",
    "CHAT_COMMAND_BURST": "2000",
    "CHAT_DRAIN_WINDOW_S": "1",
    "CHAT_DRAIN_SETTLE_S": "0.5",
    "CHAT_LOCAL_MODE": "true",
    "CHAT_LOG_FORMAT": "json",
    "PYTHONUNBUFFERED": "1",
}
_TOKEN_S: Final = 6 * 3600
_DISK_MIB: Final = {"nats": 1_200, "mongo": 2_000}
PEOPLE: Final = "people"
"""The place in the network where all who talk are."""


def member_names(nodes: int, workers: int) -> list[str]:
    counts = {"nats": 3, "mongo": 3, "worker": workers, "node": nodes}
    return [*(f"{kind}-{number}" for kind, count in counts.items() for number in range(count)), PEOPLE]


class Cluster:
    """Everything in ``directory``, as an asynchronous context manager; nothing is left running after it."""

    def __init__(
        self,
        directory: Path,
        *,
        nodes: int = 4,
        workers: int = 2,
        site: Callable[[str], Site] = lambda _: Site(),
        disks: bool = False,
        clocks: bool = False,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.directory = directory
        self.disks: dict[str, Disk] = {}
        """By the member whose data are on it; none without ``disks``, which need root."""
        self.clocks: dict[str, Clock] = {}
        """By node, worker and mongod; none without ``clocks``, which need a C compiler."""
        self._settings = dict(settings or {})
        self._open = AsyncExitStack()
        self._held: list[HeldPort] = []
        (directory / "logs").mkdir(parents=True, exist_ok=True)
        self._jumping = build(directory) if clocks else None
        places = [self._nats_place(f"nats-{n}", site) for n in range(3)]
        self.nats = [NatsMember(directory / place.name, place, places, self._sink(place.name)) for place in places]
        self.mongo = [
            MongoMember(name, directory / name, site(name), self._port(), self._sink(name), self._timed(name))
            for name in (f"mongo-{n}" for n in range(3))
        ]
        self.nats_url = ",".join(place.url for place in places)
        self.mongodb_uri = f"mongodb://{','.join(member.address for member in self.mongo)}/?replicaSet=chat"
        environment = self._environment()
        self.nodes = [self._chat(f"node-{n}", site, environment) for n in range(nodes)]
        self.workers = [self._chat(f"worker-{n}", site, environment) for n in range(workers)]
        if disks:
            for kind, size_mib in _DISK_MIB.items():
                self.disks |= {f"{kind}-{n}": Disk(directory / f"{kind}-{n}", size_mib) for n in range(3)}
        self._issuer: TokenIssuer = issuer_for(Settings.from_env(environment), lambda: time.time_ns() // 1_000_000)

    @property
    def members(self) -> Sequence[Member]:
        return [*self.nats, *self.mongo, *self.workers, *self.nodes]

    @property
    def socket_urls(self) -> list[str]:
        return [f"{node.url.replace('http', 'ws', 1)}/v1/ws" for node in self.nodes]

    def token(self, user: str, *, scopes: Sequence[str] = ()) -> str:
        return self._issuer.issue(user, user, scopes=scopes, lifetime_s=_TOKEN_S)[0]

    @property
    def plain_environment(self) -> Mapping[str, str]:
        """Of a process of this project that is no member."""
        return {"PATH": os.environ.get("PATH", os.defpath), "PYTHONPATH": _ROOT}

    async def make_room(self, room: str, users: Sequence[str]) -> None:
        members = [{"user": user, "role": "trainer"} for user in users]
        headers = {"authorization": f"Bearer {self.token('platform', scopes=('chat:admin',))}"}
        async with httpx.AsyncClient(headers=headers, timeout=30.0) as http:
            body = {"kind": "course", "title": room, "members": members}
            (await http.put(f"{self.nodes[0].url}/v1/rooms/{room}", json=body)).raise_for_status()

    async def __aenter__(self) -> Self:
        try:
            for disk in self.disks.values():
                self._open.enter_context(disk)
            await _all(member.start() for member in (*self.nats, *self.mongo))
            await initiate(self.mongo)
            await _all(member.start() for member in (*self.workers, *self.nodes))
            self._client = await nats.connect(
                self.nats_url.split(","), max_reconnect_attempts=-1, error_cb=_expected, ping_interval=2
            )
            self._open.push_async_callback(self._client.close)
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        """SIGKILL to all: what was acked has to be there anyway."""
        for member in self.members:
            if member.running:
                member.child.kill_now()
        await asyncio.gather(*(member.kill() for member in self.members if member.running))
        await self._open.aclose()

    async def stream_leader(self, partition: int) -> NatsMember | None:
        """The nats-server that leads a partition; None where nobody says so now."""
        answer = await self.ask_streams(f"INFO.{stream_name(partition)}")
        leader = answer.get("cluster", {}).get("leader") if answer else None
        return next((member for member in self.nats if member.name == leader), None)

    async def step_down(self, partition: int) -> None:
        await self.ask_streams(f"LEADER.STEPDOWN.{stream_name(partition)}")

    async def ask_streams(self, operation: str, payload: bytes = b"") -> dict:
        return await self._ask(f"STREAM.{operation}", payload)

    async def ask_consumer(self, operation: str) -> dict:
        return await self._ask(f"CONSUMER.{operation}", b"")

    async def _ask(self, operation: str, payload: bytes) -> dict:
        try:
            answer = await self._client.request(f"$JS.API.{operation}", payload, timeout=2.0)
        except AWAY:
            return {}
        return msgspec.json.decode(answer.data, type=dict)

    async def primary(self) -> MongoMember | None:
        for member in self.mongo:
            if member.running and await member.leads():
                return member
        return None

    async def leaders(self) -> Mapping[int, str]:
        return {
            partition: leader.name
            for partition in range(PARTITIONS)
            if (leader := await self.stream_leader(partition)) is not None
        }

    def _environment(self) -> dict[str, str]:
        secret = self.directory / "jwt-secret"
        secret.write_text(secrets.token_urlsafe(48), "utf-8")
        secret.chmod(0o600)
        return {
            **_SETTINGS,
            **self._settings,
            "PATH": os.environ.get("PATH", os.defpath),
            "PYTHONPATH": _ROOT,
            "CHAT_JWT_SECRET_FILE": str(secret),
            "CHAT_NATS_URL": self.nats_url,
            "CHAT_MONGODB_URI": self.mongodb_uri,
        }

    def _chat(self, name: str, site: Callable[[str], Site], environment: Mapping[str, str]) -> ChatMember:
        kind = "node" if name.startswith("node") else "worker"
        ports = (self._port(), self._port())
        return ChatMember(name, kind, site(name), ports, {**environment, **self._timed(name)}, self._sink(name))

    def _timed(self, name: str) -> Mapping[str, str]:
        """What makes its clock one that can jump."""
        if self._jumping is None:
            return {}
        self.clocks[name] = Clock(self.directory / "clocks" / name, self._jumping)
        return self.clocks[name].environment()

    def _nats_place(self, name: str, site: Callable[[str], Site]) -> NatsPlace:
        return NatsPlace(name, site(name), self._port(), self._port(), self._port())

    def _port(self) -> int:
        self._held.append(HeldPort())
        return self._held[-1].number

    def _sink(self, name: str) -> Callable[[str], None]:
        log = (self.directory / "logs" / f"{name}.log").open("a", encoding="utf-8", buffering=1)
        self._open.callback(log.close)
        return lambda line: print(line, file=log)


async def _expected(_error: Exception) -> None:
    """Servers are being killed."""


async def _all(work) -> None:  # noqa: ANN001  any iterable of coroutines
    async with asyncio.TaskGroup() as group:
        for each in work:
            group.create_task(each)
