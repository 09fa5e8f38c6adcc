"""nats-server, mongod and Envoy as children that listen on loopback only; each is an async context manager."""

import asyncio
import importlib.util
import os
import re
import shutil
import struct
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import bson
import msgspec

from chatnode.local.children import Child, LineSink, Server, ServerError
from chatnode.local.logs import mongod_error
from chatnode.local.probing import http_status

_REPLICA_SET: Final = "chat"
_NOT_INITIALIZED: Final = 94
_INVALID_CONFIG: Final = 93
_ALREADY_INITIALIZED: Final = 23
_OP_MSG: Final = 2013
_WIRE_HEADER: Final = struct.Struct("<iiiiIB")
"""Message length, request id, answers what, opcode; then the flags and the kind of the one section."""
_MISSING_LIBRARY: Final = re.compile(r"error while loading shared libraries: (\S+?):")
_LIBRARY_PACKAGES: Final = {
    "libcurl.so.4": "libcurl4",
    "libssl.so.3": "libssl3",
    "libcrypto.so.3": "libssl3",
    "liblzma.so.5": "liblzma5",
}


class NatsServer(Server):
    """nats-server with JetStream on disk in ``directory``; ready when it greets with INFO."""

    def __init__(
        self,
        directory: Path,
        *,
        port: int | None = None,
        sync_always: bool = True,
        sink: LineSink | None = None,
    ) -> None:
        super().__init__("nats-server", port, sink=sink)
        self._directory = directory
        self._sync_always = sync_always

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def command(self) -> Sequence[str]:
        store = self._directory / "jetstream"
        store.mkdir(parents=True, exist_ok=True)
        config = self._directory / "nats-server.conf"
        config.write_text(nats_config(self.port, store, sync_always=self._sync_always), "utf-8")
        return (find_program("nats-server"), "--config", str(config))

    async def probe(self) -> bool:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            async with asyncio.timeout(2.0):
                return (await reader.readline()).startswith(b"INFO ")
        except TimeoutError:
            return False
        finally:
            writer.close()


def nats_config(port: int, store: Path, *, sync_always: bool) -> str:
    """The server's configuration file.

    ``max_file_store`` is a limit of what streams may reserve together (8 partitions of 1 GiB and more), not an
    allocation: left out, it is three quarters of the free disk, and streams cannot be created on a small one.
    """
    sync = "always" if sync_always else "2m"
    return f"""listen: "127.0.0.1:{port}"
server_name: local
max_pending: 256MB
write_deadline: "10s"
jetstream {{
  store_dir: {msgspec.json.encode(str(store)).decode()}
  max_memory_store: 256MB
  max_file_store: 64GB
  sync_interval: {sync}
}}
"""


class Mongod(Server):
    """mongod as a replica set of one member, which is what transactions and ``w: majority`` need; ready when writable.

    The data may have been written under another port: the member's address is then put right.
    """

    start_within_s = 60.0
    stop_within_s = 20.0

    def __init__(self, directory: Path, *, port: int | None = None, sink: LineSink | None = None) -> None:
        super().__init__("mongod", port, sink=sink)
        self._directory = directory

    @property
    def uri(self) -> str:
        return f"mongodb://127.0.0.1:{self.port}/?replicaSet={_REPLICA_SET}"

    def command(self) -> Sequence[str]:
        self._directory.mkdir(parents=True, exist_ok=True)
        return (
            find_mongod(os.environ),
            *("--dbpath", str(self._directory), "--port", str(self.port), "--bind_ip", "127.0.0.1"),
            *("--replSet", _REPLICA_SET, "--oplogSize", "128", "--wiredTigerCacheSizeGB", "0.25"),
            *("--nounixsocket", "--setParameter", "diagnosticDataCollectionEnabled=false"),
        )

    async def probe(self) -> bool:
        try:
            async with asyncio.timeout(2.0):
                hello = await run_mongo_command(self.port, {"hello": 1})
                if hello.get("isWritablePrimary") is True:
                    return True
                await self._configure()
        except TimeoutError:
            return False
        return False

    async def _configure(self) -> None:
        """Initiate the set, or give its one member the present address; nothing while it is electing itself."""
        members = [{"_id": 0, "host": f"127.0.0.1:{self.port}"}]
        config: dict[str, object] = {"_id": _REPLICA_SET, "members": members}
        status = await run_mongo_command(self.port, {"replSetGetStatus": 1})
        if status.get("code") == _NOT_INITIALIZED:
            answer = await run_mongo_command(self.port, {"replSetInitiate": config})
        elif status.get("code") == _INVALID_CONFIG:
            config["version"] = 1
            answer = await run_mongo_command(self.port, {"replSetReconfig": config, "force": True})
        else:
            return
        if answer.get("ok") != 1 and answer.get("code") != _ALREADY_INITIALIZED:
            raise ServerError(f"mongod on port {self.port} cannot be made a replica set: {answer.get('errmsg')}")

    def explain(self, child: Child) -> str:
        for line in child.last_lines:
            missing = _MISSING_LIBRARY.search(line)
            if missing:
                package = _LIBRARY_PACKAGES.get(missing[1], f"the package that has {missing[1]}")
                return (
                    f"mongod needs {missing[1]}: install {package} (apt-get install {package}), "
                    "or name a MongoDB server with CHAT_MONGODB_URI"
                )
        reason = next((words for line in reversed(child.last_lines) if (words := mongod_error(line))), None)
        return f"mongod ended: {reason}" if reason else super().explain(child)


async def run_mongo_command(port: int, command: Mapping[str, object], *, host: str = "127.0.0.1") -> dict[str, object]:
    """One command to a mongod that may not be a working member of a set yet; its answer, refusal or not. OSError.

    One ``OP_MSG`` there and one back (MongoDB wire protocol), instead of a driver: a driver's client watches the
    server in the background, and closing it while the server reconfigures itself leaves sockets open.
    """
    body = bson.encode({**command, "$db": "admin"})
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(_WIRE_HEADER.pack(_WIRE_HEADER.size + len(body), 1, 0, _OP_MSG, 0, 0) + body)
        size, _, _, _, _, _ = _WIRE_HEADER.unpack(await reader.readexactly(_WIRE_HEADER.size))
        answer: dict[str, object] = bson.decode(await reader.readexactly(size - _WIRE_HEADER.size))
        return answer
    except asyncio.IncompleteReadError as error:
        raise ConnectionResetError(f"mongod on port {port} hung up") from error
    finally:
        writer.close()


def find_mongod(env: Mapping[str, str]) -> str:
    """``CHAT_MONGOD``, else the one on ``PATH``, else the one of the development wheel."""
    named = env.get("CHAT_MONGOD", "")
    if named:
        if not os.access(named, os.X_OK):
            raise ServerError(f"CHAT_MONGOD={named} is not a program that can be run")
        return named
    found = shutil.which("mongod")
    if found:
        return found
    wheel = importlib.util.find_spec("fiftyone")
    for root in wheel.submodule_search_locations or () if wheel else ():
        candidate = Path(root) / "db" / "bin" / "mongod"
        if os.access(candidate, os.X_OK):
            return str(candidate)
    raise ServerError("no mongod: install requirements/local.txt, put mongod on PATH, or set CHAT_MONGODB_URI")


def find_program(name: str) -> str:
    """A program of this virtual environment or of ``PATH``."""
    found = shutil.which(name, path=f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ.get('PATH', os.defpath)}")
    if found is None:
        raise ServerError(f"no {name}: install requirements/local.txt (make up does), or put {name} on PATH")
    return found


@dataclass(frozen=True, slots=True)
class NodePorts:
    """Where one node serves clients, and where its probes are."""

    port: int
    admin_port: int


class Envoy(Server):
    """The front door: one address for all nodes, sticky by cookie, and only to nodes that are ready.

    Ready when it answers a request, with whatever status.
    """

    stop_within_s = 5.0

    def __init__(self, directory: Path, *, port: int, nodes: Sequence[NodePorts], sink: LineSink | None = None) -> None:
        super().__init__("front door", port, sink=sink)
        self._directory = directory
        self._nodes = tuple(nodes)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> Sequence[str]:
        self._directory.mkdir(parents=True, exist_ok=True)
        config = self._directory / "envoy.json"
        config.write_bytes(msgspec.json.format(msgspec.json.encode(envoy_config(self.port, self._nodes))))
        # Hot restart would share memory between all Envoys of this machine.
        return (
            find_program("envoy"),
            *("--config-path", str(config), "--disable-hot-restart", "--concurrency", "1", "--log-level", "warning"),
        )

    async def probe(self) -> bool:
        return await http_status(self.port, "/") is not None


def envoy_config(port: int, nodes: Sequence[NodePorts]) -> dict[str, object]:
    """Cookie affinity that gives way at once when a node is not ready; no request timeout; sockets pass."""
    api = "type.googleapis.com/envoy.extensions"
    cookie = {
        "name": "envoy.http.stateful_session.cookie",
        "typed_config": {
            "@type": f"{api}.http.stateful_session.cookie.v3.CookieBasedSessionState",
            "cookie": {"name": "chat-node", "path": "/", "attributes": [{"name": "SameSite", "value": "Lax"}]},
        },
    }
    route = {
        "match": {"prefix": "/"},
        "route": {
            "cluster": "nodes",
            "timeout": "0s",
            "retry_policy": {"retry_on": "connect-failure,refused-stream", "num_retries": 2},
        },
    }
    connections = {
        "@type": f"{api}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "front",
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "stream_idle_timeout": "3600s",
        # Envoy waits so long for the peer after the last byte; browsers wait for Envoy after a WebSocket's close frame.
        "delayed_close_timeout": "0.1s",
        "use_remote_address": True,
        "route_config": {"virtual_hosts": [{"name": "chat", "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            {
                "name": "envoy.filters.http.stateful_session",
                "typed_config": {
                    "@type": f"{api}.filters.http.stateful_session.v3.StatefulSession",
                    "session_state": cookie,
                },
            },
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{api}.filters.http.router.v3.Router"},
            },
        ],
    }
    listener = {
        "name": "front",
        "address": _socket_address(port),
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": connections}]}
        ],
    }
    cluster = {
        "name": "nodes",
        "type": "STATIC",
        "connect_timeout": "1s",
        "lb_policy": "ROUND_ROBIN",
        "common_lb_config": {
            "override_host_status": {"statuses": ["HEALTHY", "UNKNOWN"]},
            "healthy_panic_threshold": {"value": 0},
        },
        "health_checks": [
            {
                "timeout": "1s",
                "interval": "1s",
                "no_traffic_interval": "1s",
                "unhealthy_threshold": 1,
                "healthy_threshold": 1,
                "http_health_check": {"path": "/readyz"},
            }
        ],
        "load_assignment": {
            "cluster_name": "nodes",
            "endpoints": [
                {
                    "lb_endpoints": [
                        {
                            "endpoint": {
                                "address": _socket_address(node.port),
                                "health_check_config": {"port_value": node.admin_port},
                            }
                        }
                        for node in nodes
                    ]
                }
            ],
        },
    }
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


def _socket_address(port: int) -> dict[str, object]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
