"""NATS and MongoDB as the operator starts them, under certificates that it issues, renews and has taken up."""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

import nats
import pytest
from pymongo import AsyncMongoClient

from chatnode.local.children import HeldPort, Server
from chatnode.local.servers import find_mongod, find_program
from chatoperator import broker, certificates, mongo
from chatoperator.apply import draw_keyfile
from chatoperator.objects import items, mapping, text
from chatoperator.plan import access, tls
from chatoperator.plan.mongodb import Initiate, Member, PutUsers
from chatoperator.plan.mongodb import stateful_set as mongodb_set
from chatoperator.plan.nats import configuration
from chatoperator.showing import shown
from chatoperator.spec import ManagedMongodb, ManagedNats
from tests.integration.worker_bench import until
from tests.unit.operator_cases import cluster

CREDENTIALS = {key: f"p-{key}" for key in access.DRAWN} | {access.MONGODB_KEYFILE: draw_keyfile()}

pytestmark = pytest.mark.usefixtures("pymongo_sockets")


class Store:
    """What the operator keeps in Secrets, as the files that a pod has of one."""

    def __init__(self, folder: Path, component: str) -> None:
        self.folder = folder
        self.component = component
        self.authority = certificates.successor("", "chat", datetime.now(UTC))
        self.held: Mapping[str, str] = {}
        folder.mkdir(parents=True)
        self.issue()

    @property
    def trust(self) -> str:
        return self.authority[tls.TRUST]

    @property
    def fingerprint(self) -> str:
        return certificates.read(self.held[tls.CERTIFICATE])[0].fingerprint

    def issue(self, *, anew: bool = True) -> None:
        order = tls.Issue({}, self.component, ("localhost",), anew, combined=self.component == "mongodb")
        self.held = certificates.member(order, self.held, self.authority, datetime.now(UTC))
        for key, value in self.held.items():
            (self.folder / key).write_text(value)

    def replace_authority(self) -> None:
        self.authority = certificates.successor(self.trust, "chat", datetime.now(UTC))


class _Started(Server):
    def __init__(self, name: str, command: Sequence[str], port: int, variables: Mapping[str, str]) -> None:
        super().__init__(name, port)
        self._command = command
        self._variables = variables

    def command(self) -> Sequence[str]:
        return self._command

    def environment(self) -> Mapping[str, str]:
        return {**os.environ, **self._variables}

    async def probe(self) -> bool:
        _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.close()
        return True


@pytest.fixture
async def three_nats(tmp_path: Path) -> AsyncIterator[tuple[Store, Mapping[str, str]]]:
    """Three servers with routes between them: name → address."""
    store = Store(tmp_path / "tls", "nats")
    asked = cluster()
    assert asked.spec.nats.managed is not None
    held = [[HeldPort() for _ in range(3)] for _ in range(3)]
    written = configuration(asked, asked.spec.nats.managed)
    async with AsyncExitStack() as stack:
        for number, ports in enumerate(held):
            own = tmp_path / f"nats-{number}"
            own.mkdir()
            config = written.replace("/etc/tls", str(store.folder)).replace("/data", str(own / "data"))
            config = config.replace("/tmp/nats.pid", str(own / "pid"))  # noqa: S108  the text that is replaced
            for usual, port in zip((4222, 8222, 6222), ports, strict=True):
                config = config.replace(f"port: {usual}", f"port: {port.number}")
            (own / "nats.conf").write_text(config)
            variables = {
                "POD_NAME": f"chat-nats-{number}",
                "NATS_NODE": CREDENTIALS["nats-node"],
                "NATS_WORKER": CREDENTIALS["nats-worker"],
                "NATS_ROUTE": CREDENTIALS["nats-route"],
                "NATS_SYSTEM": CREDENTIALS["nats-system"],
                **{
                    f"NATS_ROUTE_{each}": f"nats://route:{CREDENTIALS['nats-route']}@localhost:{other[2].number}"
                    for each, other in enumerate(held)
                },
            }
            command = (find_program("nats-server"), "--addr", "127.0.0.1", "--config", str(own / "nats.conf"))
            await stack.enter_async_context(_Started(f"nats-{number}", command, ports[0].number, variables))
        yield store, {f"chat-nats-{number}": f"localhost:{ports[0].number}" for number, ports in enumerate(held)}


async def test_nats_servers_take_up_renewed_certificates_under_open_connections(
    three_nats: tuple[Store, Mapping[str, str]],
) -> None:
    store, members = three_nats
    client = await nats.connect(
        [f"tls://{member}" for member in members.values()],
        user="worker",
        password=CREDENTIALS["nats-worker"],
        tls=ssl.create_default_context(cadata=store.trust),
    )
    stream = client.jetstream()

    async def quorum() -> bool:
        try:
            await stream.add_stream(name="CHAT_0", subjects=["chat.0.room.*"], num_replicas=3)
        except (nats.js.errors.APIError, nats.errors.TimeoutError, nats.errors.NoRespondersError):
            return False
        return True

    await until(quorum)
    for step in ("the certificate alone", "a new authority, believed", "a certificate of the new authority"):
        if step == "a new authority, believed":
            store.replace_authority()
        store.issue(anew=step != "a new authority, believed")
        await broker.reload(members, CREDENTIALS["nats-system"], store.trust)
        for member in members.values():
            assert await shown(member, greets=True) == store.fingerprint, step
        # Routes were kept, or made again under the new certificates: three copies are written.
        assert (await stream.publish("chat.0.room.a", step.encode())).stream == "CHAT_0"
    assert client.stats["reconnects"] == 0
    await client.close()


async def test_a_server_that_is_told_nothing_goes_on_with_what_it_has(
    three_nats: tuple[Store, Mapping[str, str]],
) -> None:
    store, members = three_nats
    before = store.fingerprint
    store.issue()
    assert {await shown(member, greets=True) for member in members.values()} == {before}
    with pytest.raises(broker.NatsRefused):
        await broker.reload(members, "p-wrong", store.trust)


@pytest.fixture
async def three_mongods(tmp_path: Path) -> AsyncIterator[tuple[Store, Sequence[str]]]:
    """Three members that know nobody yet."""
    store = Store(tmp_path / "tls", "mongodb")
    asked = cluster()
    assert asked.spec.mongodb.managed is not None
    key = tmp_path / "keyfile"
    key.write_text(CREDENTIALS[access.MONGODB_KEYFILE])
    key.chmod(0o400)
    pod = mapping(mongodb_set(asked, asked.spec.mongodb.managed, 3), "spec", "template", "spec")
    container = mapping(items(pod, "containers")[0])
    assert text(container, "name") == "mongodb"
    ports = [HeldPort() for _ in range(3)]
    async with AsyncExitStack() as stack:
        for number, port in enumerate(ports):
            own = tmp_path / f"mongod-{number}"
            own.mkdir()
            command = [
                str(word)
                .replace("/etc/tls", str(store.folder))
                .replace("/data/db", str(own))
                .replace("/keys/keyfile", str(key))
                .replace("27017", str(port.number))
                .replace("--bind_ip_all", "--bind_ip=127.0.0.1")
                for word in items(container, "command")
            ]
            command = [find_mongod(os.environ), *command[1:], "--oplogSize", "128"]
            server = _Started(f"mongod-{number}", command, port.number, {})
            await server.start()
            # One that is asked to end waits for a successor, of which the last has none.
            stack.push_async_callback(server.kill)
        yield store, [f"localhost:{port.number}" for port in ports]


@pytest.mark.timeout(180)
async def test_mongodb_members_take_up_renewed_certificates_under_open_connections(
    three_mongods: tuple[Store, Sequence[str]],
) -> None:
    store, hosts = three_mongods
    entry = mongo.Entry(CREDENTIALS, store.trust)
    view = await mongo.look(hosts, entry, "chat")
    assert set(view.answering) == set(hosts)
    await mongo.perform(Initiate(tuple(Member(number, host) for number, host in enumerate(hosts))), view, entry, "chat")

    async def whole() -> bool:
        return set((await mongo.look(hosts, entry, "chat")).healthy) == set(hosts)

    await until(whole, 60)
    await mongo.perform(PutUsers(), await mongo.look(hosts, entry, "chat"), entry, "chat")
    with entry.trust_file() as trust:
        client: AsyncMongoClient[dict[str, object]] = AsyncMongoClient(
            f"mongodb://worker:{CREDENTIALS['mongodb-worker']}@{','.join(hosts)}"
            f"/?replicaSet=chat&authSource=chat&tls=true&tlsCAFile={trust}&maxPoolSize=1&minPoolSize=1",
        )
        await client["chat"]["notes"].insert_one({"n": 0})
    before = await _connection(client)
    for step in ("the certificate alone", "a new authority, believed", "a certificate of the new authority"):
        if step == "a new authority, believed":
            store.replace_authority()
        store.issue(anew=step != "a new authority, believed")
        await mongo.reload(hosts, mongo.Entry(CREDENTIALS, store.trust))
        for host in hosts:
            assert await shown(host, greets=False) == store.fingerprint, step
        await client["chat"].get_collection("notes").insert_one({"step": step})
    entry = mongo.Entry(CREDENTIALS, store.trust)
    await until(whole, 60)
    assert await _connection(client) == before
    await client.close()


async def _connection(client: AsyncMongoClient[dict[str, object]]) -> object:
    return (await client.admin.command({"hello": 1}))["connectionId"]


async def test_members_refuse_who_does_not_speak_tls(three_mongods: tuple[Store, Sequence[str]]) -> None:
    _, hosts = three_mongods
    assert (await mongo.look(hosts, mongo.Entry(CREDENTIALS), "chat")).answering == ()


def test_the_rendered_configurations_are_those_of_the_defaults() -> None:
    asked = cluster()
    assert asked.spec.nats.managed == ManagedNats()
    assert asked.spec.mongodb.managed == ManagedMongodb()
