"""Members of replicated servers as children: where each listens, and how it joins the others."""

import asyncio
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import msgspec

from chatnode.local.children import LineSink, Server
from chatnode.local.servers import find_mongod, find_program, run_mongo_command

REPLICA_SET: Final = "chat"
ELECTION_TIMEOUT_MS: Final = 5_000
"""As the operator sets it up."""
_STATUS: Final = re.compile(rb"HTTP/1\.[01] (\d{3})\b")


@dataclass(frozen=True)
class Site:
    """Where a member runs: its address, and what a command begins with to run there."""

    host: str = "127.0.0.1"
    prefix: tuple[str, ...] = ()


class Member(Server):
    """A server at a site."""

    def __init__(self, name: str, site: Site, port: int | None, sink: LineSink) -> None:
        super().__init__(name, port, sink=sink)
        self.site = site

    def check_ports(self) -> None:
        """Ports are held, or are in a namespace of the run's own."""


@dataclass(frozen=True)
class NatsPlace:
    name: str
    site: Site
    port: int
    routes_port: int
    monitoring_port: int

    @property
    def url(self) -> str:
        return f"nats://{self.site.host}:{self.port}"

    @property
    def route(self) -> str:
        return f"nats://{self.site.host}:{self.routes_port}"


class NatsMember(Member):
    """One nats-server of a cluster, JetStream on disk, every write synced."""

    def __init__(self, directory: Path, place: NatsPlace, everybody: Sequence[NatsPlace], sink: LineSink) -> None:
        super().__init__(place.name, place.site, place.port, sink)
        self._directory = directory
        self._place = place
        self._everybody = tuple(everybody)
        config = cluster_config(place, self._everybody, self.store)
        self._config = directory.with_suffix(".conf")
        self._config.write_text(config, "utf-8")

    @property
    def store(self) -> Path:
        return self._directory / "store"

    def command(self) -> Sequence[str]:
        self.store.mkdir(parents=True, exist_ok=True)
        return (*self.site.prefix, find_program("nats-server"), "--config", str(self._config))

    async def probe(self) -> bool:
        reader, writer = await asyncio.open_connection(self.site.host, self.port)
        try:
            async with asyncio.timeout(2.0):
                return (await reader.readline()).startswith(b"INFO ")
        except TimeoutError:
            return False
        finally:
            writer.close()

    async def sound(self) -> bool:
        """Whether it has caught up in every stream that it holds, as a readiness probe asks."""
        return await _status(self.site.host, self._place.monitoring_port, "/healthz") == 200

    async def gave_up(self) -> bool:
        """Whether it runs without JetStream, as after a full disk: a liveness probe has it started again."""
        path = "/healthz?js-enabled-only=true"
        return await _status(self.site.host, self._place.monitoring_port, path) not in (200, None)


async def _status(host: str, port: int, path: str) -> int | None:
    """Of a GET; None where nobody answers in time."""
    try:
        async with asyncio.timeout(2.0):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(f"GET {path} HTTP/1.1\r\nhost: chat\r\nconnection: close\r\n\r\n".encode())
                found = _STATUS.match(await reader.readline())
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return None
    return None if found is None else int(found[1])


def cluster_config(place: NatsPlace, everybody: Sequence[NatsPlace], store: Path) -> str:
    """As in production, of three servers: one sync per write, no limits but those of the streams."""
    routes = "\n".join(f'    "{other.route}"' for other in everybody if other.name != place.name)
    return f"""listen: "{place.site.host}:{place.port}"
http: "{place.site.host}:{place.monitoring_port}"
server_name: {place.name}
max_pending: 256MB
write_deadline: "10s"
jetstream {{
  store_dir: {msgspec.json.encode(str(store)).decode()}
  max_memory_store: 64MB
  max_file_store: 64GB
  sync_interval: always
}}
cluster {{
  name: chat
  listen: "{place.site.host}:{place.routes_port}"
  routes: [
{routes}
  ]
}}
"""


class MongoMember(Member):
    """One mongod of a replica set; ready when it answers at all."""

    stop_within_s = 20.0

    def __init__(
        self,
        name: str,
        directory: Path,
        site: Site,
        port: int | None,
        sink: LineSink,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(name, site, port, sink)
        self._directory = directory
        self._environment = {**os.environ, **(environment or {})}

    def environment(self) -> Mapping[str, str]:
        return self._environment

    @property
    def address(self) -> str:
        return f"{self.site.host}:{self.port}"

    def command(self) -> Sequence[str]:
        self._directory.mkdir(parents=True, exist_ok=True)
        return (
            *self.site.prefix,
            find_mongod({}),
            *("--dbpath", str(self._directory), "--port", str(self.port), "--bind_ip", self.site.host),
            *("--replSet", REPLICA_SET, "--oplogSize", "128", "--wiredTigerCacheSizeGB", "0.25"),
            *("--nounixsocket", "--setParameter", "diagnosticDataCollectionEnabled=false"),
        )

    async def probe(self) -> bool:
        try:
            async with asyncio.timeout(2.0):
                return (await self.ask({"hello": 1})).get("ok") == 1
        except TimeoutError:
            return False

    async def ask(self, command: Mapping[str, object]) -> dict[str, object]:
        return await run_mongo_command(self.port, command, host=self.site.host)

    async def sound(self) -> bool:
        """Whether it takes part: as primary or secondary, not recovering."""
        try:
            async with asyncio.timeout(1.0):
                answer = await self.ask({"hello": 1})
        except (OSError, TimeoutError):
            return False
        return answer.get("isWritablePrimary") is True or answer.get("secondary") is True

    async def leads(self) -> bool:
        """Whether it says that it is the writable primary; False when it does not answer."""
        try:
            async with asyncio.timeout(1.0):
                return (await self.ask({"hello": 1})).get("isWritablePrimary") is True
        except (OSError, TimeoutError):
            return False


async def initiate(members: Sequence[MongoMember], within_s: float = 60.0) -> None:
    """Make a replica set of them, and wait until one can be written to."""
    config = {
        "_id": REPLICA_SET,
        "members": [{"_id": number, "host": member.address} for number, member in enumerate(members)],
        "settings": {"electionTimeoutMillis": ELECTION_TIMEOUT_MS},
    }
    async with asyncio.timeout(within_s):
        await members[0].ask({"replSetInitiate": config})
        while not [member for member in members if await member.leads()]:
            await asyncio.sleep(0.2)


class ChatMember(Member):
    """A node or a worker; ready when its ``/readyz`` says so."""

    def __init__(
        self,
        name: str,
        kind: Literal["node", "worker"],
        site: Site,
        ports: tuple[int, int],
        environment: Mapping[str, str],
        sink: LineSink,
    ) -> None:
        super().__init__(name, site, ports[0], sink)
        self.admin_port = ports[1]
        self.stop_within_s = 20.0
        self._kind = kind
        self._environment = {
            **environment,
            "CHAT_NODE_ID": name,
            "CHAT_HOST": site.host,
            "CHAT_PORT": str(ports[0]),
            "CHAT_ADMIN_HOST": site.host,
            "CHAT_ADMIN_PORT": str(ports[1]),
        }

    @property
    def url(self) -> str:
        return f"http://{self.site.host}:{self.port}"

    def command(self) -> Sequence[str]:
        return (*self.site.prefix, sys.executable, "-m", "chatnode.cli", self._kind)

    def environment(self) -> Mapping[str, str]:
        return self._environment

    def environ(self, name: str, value: str) -> None:
        """A variable of its environment from its next start on."""
        self._environment[name] = value

    async def probe(self) -> bool:
        return await _status(self.site.host, self.admin_port, "/readyz") == 200
