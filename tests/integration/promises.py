"""What the tests of the promises share: a room with its people, and the verdict over what they did."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Self

import httpx
import nats
from nats.aio.client import Client as Nats
from pymongo import AsyncMongoClient

from chatclient import Timing
from chatnode.broker.subjects import partition_of, stream_name
from chatnode.local.cluster import LocalCluster
from chatnode.local.servers import Mongod
from chatnode.protocol.frames import Message, Position
from tests.oracle import Acked, Log, Verdict, Watched, judge
from tests.oracle.effects import place

SETTINGS = {
    "CHAT_COMMAND_RATE_PER_S": "2000",
    "CHAT_COMMAND_BURST": "2000",
    "CHAT_ROOM_LINGER_S": "1",
    "CHAT_DRAIN_WINDOW_S": "1",
}
TIMING = Timing(reply_s=4.0, ping_s=4.0)
LEARNERS = ("ana", "bob", "eve")


@dataclass
class Talk:
    """A room of one test alone, its people, and the log of what they did."""

    cluster: LocalCluster
    room: str
    transport: str = "websocket"
    log: Log = field(default_factory=Log)

    def urls(self, first: int) -> list[str]:
        """Both nodes, beginning with this one."""
        urls = [f"{url.replace('http', 'ws', 1)}/v1/ws" for url in self.cluster.node_urls]
        return urls[first:] + urls[:first]

    def client(
        self, user: str, node: int, *, name: str = "", timing: Timing = TIMING, timeout: float = 60.0
    ) -> Watched:
        """A client that begins at this node, and goes to the other one when it has to."""
        token = self.cluster.token(user)
        return Watched(
            self.log,
            user,
            self.urls(node),
            token,
            name=name,
            timing=timing,
            timeout=timeout,
            transports=[self.transport],
        )

    async def verdict(self, *present: Watched) -> Verdict:
        """Wait until everybody who is present has everything, read the history, and judge."""
        history = await present[0].whole_history(self.room)
        stored = [place(event) for watched in present for event in watched.stored(self.room)]
        last = max([*stored, *(message.position for message in history)], default=Position(0, 0))
        for watched in present:
            await watched.until_at(self.room, last)
        # What comes while the history is read need not be in it.
        records = list(self.log.records)
        return judge(records, {self.room: await present[0].whole_history(self.room)})

    async def keep(self, *present: Watched) -> Verdict:
        """The verdict, which has to be good."""
        verdict = await self.verdict(*present)
        assert verdict.ok, str(verdict)
        return verdict

    async def keep_later(self, watched: Watched) -> None:
        """Hold somebody who leaves before the end to everything that was acked until now."""
        acked = [record.position for record in self.log.records if isinstance(record, Acked)]
        await watched.until_at(self.room, max(acked))

    async def sent_history(self, reader: Watched) -> list[Message]:
        """The history without the notices of people who joined."""
        return [message for message in await reader.whole_history(self.room) if message.notice is None]


async def begin_talk(
    cluster: LocalCluster, learners: Sequence[str] = LEARNERS, *, transport: str = "websocket"
) -> Talk:
    return Talk(cluster, await make_room(cluster, learners, trainers=["tom"]), transport)


async def make_room(cluster: LocalCluster, learners: Sequence[str], *, trainers: Sequence[str] = ()) -> str:
    """A course of one test alone."""
    name = f"room-{secrets.token_hex(4)}"
    members = [{"user": user, "role": "learner"} for user in learners]
    members += [{"user": user, "role": "trainer"} for user in trainers]
    await rest(cluster, "PUT", f"/v1/rooms/{name}", {"kind": "course", "title": "Talk", "members": members})
    return name


async def rest(cluster: LocalCluster, method: str, path: str, body: object = None) -> None:
    """As the platform's backend; where it is told to come back, it does: the fault before may not be over."""
    headers = {"Authorization": f"Bearer {cluster.service_token()}", "Idempotency-Key": secrets.token_hex(8)}
    async with asyncio.timeout(30), httpx.AsyncClient(headers=headers, timeout=15) as http:
        while (answer := await http.request(method, cluster.url + path, json=body)).status_code == 503:
            await asyncio.sleep(0.2)
        answer.raise_for_status()


async def nats_of(cluster: LocalCluster) -> Nats:
    return await nats.connect(cluster.servers["nats-server"].url)  # type: ignore[attr-defined]


@asynccontextmanager
async def shortened_window(talk: Talk, seconds: float = 0.1) -> AsyncIterator[float]:
    """The duplicate window of the room's stream, made so short that a test can wait for its end."""
    client = await nats_of(talk.cluster)
    stream = client.jetstream()
    config = (await stream.stream_info(stream_name(partition_of(talk.room)))).config
    usual = config.duplicate_window
    config.duplicate_window = seconds
    await stream.update_stream(config)
    try:
        yield seconds
    finally:
        config.duplicate_window = usual
        await stream.update_stream(config)
        await client.close()


async def until_written(cluster: LocalCluster, collection: str, wanted: dict[str, object], count: int) -> None:
    """Wait until the worker has written so many documents."""
    mongod = cluster.servers["mongod"]
    assert isinstance(mongod, Mongod)
    async with AsyncMongoClient(mongod.uri) as client, asyncio.timeout(15):
        while await client["chat"][collection].count_documents(wanted) < count:
            await asyncio.sleep(0.05)


class Chatter:
    """Somebody who goes on talking until told to stop: messages, several under way at once, and what amends them."""

    def __init__(self, watched: Watched, room: str, *, pace: float = 0.005) -> None:
        self._watched = watched
        self._room = room
        self._pace = pace
        self._enough = asyncio.Event()
        self._sends: set[asyncio.Task[None]] = set()
        self.sent = 0
        self.acked = 0

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._talk(), name=f"{self._watched.name} talks")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._enough.set()
        await self._task

    async def until_acked(self, count: int, within: float = 30.0) -> None:
        """Wait until so many more are acked."""
        target = self.acked + count
        async with asyncio.timeout(within):
            while self.acked < target:
                await asyncio.sleep(0.01)

    async def _talk(self) -> None:
        async with asyncio.TaskGroup() as group:
            while not self._enough.is_set():
                self.sent += 1
                task = group.create_task(self._say(self.sent))
                self._sends.add(task)
                task.add_done_callback(self._sends.discard)
                if len(self._sends) >= 40:
                    await asyncio.wait(self._sends, return_when=asyncio.FIRST_COMPLETED)
                await asyncio.sleep(self._pace)

    async def _say(self, number: int) -> None:
        ack = await self._watched.send(self._room, f"{self._watched.name} {number}")
        if ack is None:
            return
        self.acked += 1
        if number % 10 == 0:
            await self._watched.react(self._room, ack.position, "+1")
        if number % 15 == 0:
            await self._watched.edit(self._room, ack.position, f"{self._watched.name} {number} mended")
        if number % 40 == 0:
            await self._watched.delete(self._room, ack.position)


async def metric(cluster: LocalCluster, node: int, name: str) -> float:
    async with httpx.AsyncClient() as http:
        text = (await http.get(f"{cluster.admin_urls[node]}/metrics")).text
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name))
