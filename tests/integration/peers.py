"""Bare clients over a socket, for tests that look at single frames."""

import asyncio
import secrets
from collections.abc import Callable

import msgspec
from websockets.asyncio.client import ClientConnection, connect

from chatnode.local.cluster import LocalCluster
from chatnode.protocol.codec import encode_frame
from chatnode.protocol.frames import Command, Connect, Send, Subscribe

Frame = dict[str, object]


class Peer:
    """A bare client: sends what it is told to and shows what comes, without mending anything."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.events: list[Frame] = []

    async def ask(self, command: Command, within: float = 10.0) -> Frame:
        await self.socket.send(encode_frame(command).decode())
        return await self.next(lambda frame: frame.get("id") == command.id and frame["type"] != "event", within)

    async def next(self, wanted: Callable[[Frame], bool], within: float = 10.0) -> Frame:
        async with asyncio.timeout(within):
            while True:
                frame: Frame = msgspec.json.decode(await self.socket.recv())
                if frame["type"] == "event":
                    self.events.append(frame)
                if wanted(frame):
                    return frame

    async def texts(self, count: int, within: float = 15.0) -> list[object]:
        def enough(_frame: Frame) -> bool:
            return sum(event["kind"] == "message" for event in self.events) >= count

        if not enough({}):
            await self.next(enough, within)
        return [event["text"] for event in self.events if event["kind"] == "message"]


async def dial(cluster: LocalCluster, node: int) -> Peer:
    url = cluster.node_urls[node].replace("http", "ws") + "/v1/ws"
    # Unbounded, because a client that holds unread frames back reads no close frame either, and takes 10 s to close.
    return Peer(await connect(url, subprotocols=["chat.v1"], max_queue=None))  # type: ignore[list-item]


async def enter(cluster: LocalCluster, node: int, user: str, room: str, *, cursor: str | None = None) -> Peer:
    """Somebody who is connected and follows the room."""
    peer = await dial(cluster, node)
    assert (await peer.ask(Connect(id="hello", token=cluster.token(user))))["type"] == "welcome"
    joined = await peer.ask(Subscribe(id="join", room=room, cursor=cursor or msgspec.UNSET))
    assert joined["type"] == "ack", joined
    assert joined["recovered"] is (cursor is not None)
    return peer


def say(room: str, text: str) -> Send:
    return Send(id=secrets.token_hex(8), room=room, text=text)
