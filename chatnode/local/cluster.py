"""The cluster on one machine as one object: what ``chatcluster up`` runs and what tests drive.

``async with LocalCluster(directory) as cluster:`` gives a cluster on free ports that is ready, and gone afterwards.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self

from chatnode.identity.tokens import TokenIssuer, issuer_for
from chatnode.local.chat_process import ChatProcess, Ports
from chatnode.local.children import Server, ServerError, describe_exit
from chatnode.local.data_folder import DataFolder, check_space, free_bytes, open_data_folder
from chatnode.local.existing import check_mongodb, check_nats
from chatnode.local.logs import LogFile, worth_showing
from chatnode.local.notices import Died, Notice, Ready, Said, Starting, Stopped
from chatnode.local.probing import http_status
from chatnode.local.servers import Envoy, Mongod, NatsServer, NodePorts
from chatnode.local.supervision import Deaths, GiveUp, Role, start_stages, stop_stages
from chatnode.settings import Settings

_PACKAGE_ROOT: Final = str(Path(__file__).parents[2])
_FRONT_READY_S: Final = 15.0
_TOKEN_S: Final = 3600
_DISK_S: Final = 1.0
_GIVES_WAY: Final = 10
_DEFAULTS: Final = {"CHAT_DRAIN_WINDOW_S": "2", "CHAT_DRAIN_SETTLE_S": "0.5"}
"""What differs from the defaults of production, unless it is set: nobody waits half a minute for Ctrl-C."""
_PER_PROCESS: Final = ("NODE_ID", "HOST", "PORT", "ADMIN_HOST", "ADMIN_PORT", "JWT_SECRET", "LOCAL_MODE", "LOG_FORMAT")


class LocalCluster:
    """Servers, worker, nodes and front door in ``directory``.

    ``settings`` are ``CHAT_*`` variables for nodes and worker; of those of ``env`` only the ones that say nothing about
    a single process are handed on. With ``restart`` a child that dies is started again, and :meth:`wait_given_up` tells
    when that is hopeless; without it, tests kill and start what they like. Servers named in ``giving_way`` leave the
    processors to the others where these are full.
    """

    def __init__(
        self,
        directory: Path,
        *,
        nodes: int = 2,
        ports: Ports | None = None,
        settings: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        restart: bool = False,
        fresh: bool = False,
        sync_always: bool = True,
        giving_way: Collection[str] = (),
        notify: Callable[[Notice], None] = lambda _: None,
        free: Callable[[Path], int] = free_bytes,
    ) -> None:
        self.ports = ports or Ports.free(nodes)
        self._directory = directory
        self._env = {**_DEFAULTS, **(env or {}), **(settings or {})}
        self._settings = Settings.from_env(self._env)
        self._restart = restart
        self._fresh = fresh
        self._sync_always = sync_always
        self._giving_way = giving_way
        self._notify = notify
        self._free = free
        self._open = contextlib.ExitStack()
        self._servers: dict[str, Server] = {}
        self._roles: dict[str, Role] = {}
        self._watchers: set[asyncio.Task[None]] = set()
        self._given_up: asyncio.Future[ServerError] | None = None
        self._folder: DataFolder | None = None
        self._issuer: TokenIssuer | None = None

    @property
    def url(self) -> str:
        """The front door."""
        return f"http://127.0.0.1:{self.ports.front}"

    @property
    def node_urls(self) -> tuple[str, ...]:
        return tuple(f"http://127.0.0.1:{node.port}" for node in self.ports.nodes)

    @property
    def admin_urls(self) -> tuple[str, ...]:
        """Where the nodes' probes and metrics are."""
        return tuple(f"http://127.0.0.1:{node.admin_port}" for node in self.ports.nodes)

    @property
    def folder(self) -> DataFolder:
        if self._folder is None:
            raise ServerError("the cluster was not started")
        return self._folder

    @property
    def servers(self) -> Mapping[str, Server]:
        """All children by name: ``nats-server``, ``mongod``, ``worker``, ``node-1``…, ``front door``."""
        return self._servers

    def node(self, index: int) -> Server:
        """The node at ``node_urls[index]``."""
        return self._servers[f"node-{index + 1}"]

    async def kill_node(self, index: int) -> None:
        """``kill -9``."""
        await self.node(index).kill()

    async def start_node(self, index: int) -> None:
        """Start a node that was killed or stopped, on the same ports."""
        await self.node(index).start()

    def token(
        self, user: str, *, name: str | None = None, scopes: Collection[str] = (), lifetime_s: int = _TOKEN_S
    ) -> str:
        """A token as the platform would issue it, for any user."""
        if self._issuer is None:
            raise ServerError("the cluster was not started")
        return self._issuer.issue(user, name or user, scopes=scopes, lifetime_s=lifetime_s)[0]

    def service_token(self) -> str:
        """The token of a platform's backend, with every right."""
        return self.token("platform", scopes=("chat:admin",))

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Everything, stage after stage, until it is ready; :class:`ServerError` names what was not.

        After an error :meth:`stop` has to be called, as the context manager does.
        """
        self._given_up = asyncio.get_running_loop().create_future()
        self._folder = self._open.enter_context(open_data_folder(self._directory, fresh=self._fresh, free=self._free))
        nats_url, mongodb_uri = await self._make_servers()
        common = self._common_environment(nats_url, mongodb_uri)
        self._issuer = issuer_for(Settings.from_env(common), lambda: time.time_ns() // 1_000_000)
        self._make_chat(common)
        for name in self._giving_way:
            self._servers[name].niceness = _GIVES_WAY
        for server in self._servers.values():
            server.check_ports()
        if self._restart:
            self._spawn(self._watch_disk(), "watch over the disk")
        for stage in start_stages(self._roles):
            await self._all(self._begin(name) for name in stage)
        await self._front_door_open()

    async def _make_servers(self) -> tuple[str | None, str | None]:
        """URLs of NATS and MongoDB where they are ours; None where existing ones are used."""
        nats_url = mongodb_uri = None
        if _given(self._env, "CHAT_NATS_URL"):
            await check_nats(self._settings.nats_servers)
        else:
            nats = NatsServer(self.folder.nats, sync_always=self._sync_always, sink=self._sink("nats-server", "nats"))
            self._servers[nats.name] = nats
            nats_url = nats.url
        if _given(self._env, "CHAT_MONGODB_URI"):
            await check_mongodb(self._settings.mongodb_uri)
        else:
            mongod = Mongod(self.folder.mongodb, sink=self._sink("mongod", "mongod"))
            self._servers[mongod.name] = mongod
            mongodb_uri = mongod.uri
        return nats_url, mongodb_uri

    def _common_environment(self, nats_url: str | None, mongodb_uri: str | None) -> dict[str, str]:
        replaced = [f"CHAT_{name}" for name in _PER_PROCESS]
        env = {name: value for name, value in self._env.items() if name.removesuffix("_FILE") not in replaced}
        env["CHAT_LOCAL_MODE"] = "true"
        env["CHAT_LOG_FORMAT"] = "json"
        env["CHAT_JWT_SECRET_FILE"] = str(self.folder.secret)
        env["PYTHONPATH"] = os.pathsep.join(path for path in (_PACKAGE_ROOT, env.get("PYTHONPATH", "")) if path)
        env["PYTHONUNBUFFERED"] = "1"
        if nats_url is not None:
            env["CHAT_NATS_URL"] = nats_url
        if mongodb_uri is not None:
            env["CHAT_MONGODB_URI"] = mongodb_uri
        return env

    def _make_chat(self, common: Mapping[str, str]) -> None:
        drain_s = self._settings.drain_window_s + self._settings.drain_settle_s
        worker_ports = NodePorts(self.ports.worker_admin, self.ports.worker_admin)
        self._add("worker", "worker", worker_ports, common, stop_within_s=15.0)
        for number, ports in enumerate(self.ports.nodes, 1):
            self._add(f"node-{number}", "node", ports, common, stop_within_s=drain_s + 10.0)
        sink = self._sink("front door", "front door")
        self._servers["front door"] = Envoy(self.folder.envoy, port=self.ports.front, nodes=self.ports.nodes, sink=sink)

    def _add(
        self,
        name: str,
        kind: Literal["node", "worker"],
        ports: NodePorts,
        common: Mapping[str, str],
        *,
        stop_within_s: float,
    ) -> None:
        own = {
            "CHAT_NODE_ID": name,
            "CHAT_HOST": "127.0.0.1",
            "CHAT_PORT": str(ports.port),
            "CHAT_ADMIN_HOST": "127.0.0.1",
            "CHAT_ADMIN_PORT": str(ports.admin_port),
        }
        sink = self._sink(name, kind)
        self._servers[name] = ChatProcess(name, kind, ports, {**common, **own}, stop_within_s=stop_within_s, sink=sink)

    def _sink(self, name: str, role: Role) -> Callable[[str], None]:
        self._roles[name] = role
        path = self.folder.logs / f"{name.replace(' ', '-')}.log"
        log = LogFile(path, complain=lambda words: self._notify(Said(name, words)))
        self._open.callback(log.close)

        def take(line: str) -> None:
            log.write(line)
            words = worth_showing(role, line)
            if words is not None:
                self._notify(Said(name, words))

        return take

    async def _begin(self, name: str) -> None:
        server = self._servers[name]
        await self._start_one(name, server)
        if self._restart:
            self._spawn(self._watch(name, server), f"watch over {name}")

    def _spawn(self, work: Coroutine[object, object, None], name: str) -> None:
        watcher = asyncio.create_task(work, name=name)
        self._watchers.add(watcher)
        watcher.add_done_callback(self._watcher_ended)

    def _watcher_ended(self, watcher: asyncio.Task[None]) -> None:
        self._watchers.discard(watcher)
        error = None if watcher.cancelled() else watcher.exception()
        if error is not None and self._given_up is not None and not self._given_up.done():
            self._given_up.set_exception(error)

    async def _start_one(self, name: str, server: Server) -> None:
        self._notify(Starting(name))
        began = time.monotonic()
        await server.start()
        self._notify(Ready(name, time.monotonic() - began, f"127.0.0.1:{server.port}", server.pid))

    async def _watch(self, name: str, server: Server) -> None:
        """Start a child again whenever it dies, until that is hopeless."""
        deaths = Deaths()
        ready_at: float | None = time.monotonic()
        why = ""
        while True:
            if ready_at is not None:
                why = f"ended with {describe_exit(await server.child.wait())}"
            uptime_s = 0.0 if ready_at is None else time.monotonic() - ready_at
            deaths, step = deaths.another(uptime_s)
            if isinstance(step, GiveUp):
                logs = self.folder.logs
                self._give_up(
                    ServerError(f"{name} died {step.deaths} times in a row, the last time: {why}; see {logs}")
                )
                return
            self._notify(Died(name, why, step.after_s))
            await asyncio.sleep(step.after_s)
            try:
                await self._start_one(name, server)
                ready_at = time.monotonic()
            except ServerError as error:
                ready_at = None
                why = f"did not start: {error}"

    async def _watch_disk(self) -> None:
        while True:
            try:
                check_space(self.folder.path, self._free(self.folder.path), running=True)
            except ServerError as error:
                self._give_up(error)
                return
            await asyncio.sleep(_DISK_S)

    def _give_up(self, error: ServerError) -> None:
        if self._given_up is not None and not self._given_up.done():
            self._given_up.set_result(error)

    async def wait_given_up(self) -> ServerError:
        """Wait until a child could not be kept alive or the disk is full, and say so."""
        if self._given_up is None:
            raise ServerError("the cluster was not started")
        return await asyncio.shield(self._given_up)

    async def _front_door_open(self) -> None:
        """The front door lets in once it has found a node ready by its own probes."""
        try:
            async with asyncio.timeout(_FRONT_READY_S):
                # The state of another process cannot be awaited, only asked for.
                while await http_status(self.ports.front, "/v1/demo/users") in {None, 503}:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
        except (TimeoutError, OSError) as error:
            raise ServerError(f"the front door finds no node ready: see {self.folder.logs}") from error

    async def stop(self) -> None:
        """Everything, in order; what does not go by itself is killed. Safe to call again."""
        watchers = tuple(self._watchers)
        for watcher in watchers:
            watcher.cancel()
        await asyncio.gather(*watchers, return_exceptions=True)
        try:
            for stage in stop_stages(self._roles):
                await self._all(self._end(name) for name in stage if name in self._servers)
        finally:
            self.kill_all()
            await asyncio.gather(*(server.kill() for server in self._servers.values() if server.running))
            self._open.close()

    async def _end(self, name: str) -> None:
        server = self._servers[name]
        if server.running:
            willingly = await server.stop()
            self._notify(Stopped(name, willingly))

    def kill_all(self) -> None:
        """SIGKILL to every child, at once; :meth:`stop` then finds them gone."""
        for server in self._servers.values():
            if server.running:
                server.child.kill_now()

    @staticmethod
    async def _all(work: Iterable[Coroutine[object, object, None]]) -> None:
        """All together; the first failure ends the others and is the one that counts."""
        try:
            async with asyncio.TaskGroup() as group:
                for each in work:
                    group.create_task(each)
        except ExceptionGroup as errors:
            # Not ``except*``: before Python 3.11.4 what is raised in it comes out in another group.
            failures, others = errors.split(ServerError)
            if failures is None or others is not None:
                raise
            raise next(_each(failures)) from None


def _each(group: BaseExceptionGroup[ServerError]) -> Iterator[ServerError]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _each(error)
        else:
            yield error


def _given(env: Mapping[str, str], variable: str) -> bool:
    return bool(env.get(variable) or env.get(f"{variable}_FILE"))
