"""Live subjects: one core subscription per room that somebody on this node follows."""

import logging
from collections.abc import Callable
from typing import Final

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from chatnode.broker.connection import AWAY
from chatnode.broker.subjects import live_subject
from chatnode.rooms.ports import LiveMessage, Unavailable

log = logging.getLogger(__name__)

_PENDING_MESSAGES: Final = 8192
_PENDING_BYTES: Final = 16 * 1024 * 1024
"""Beyond these nats-py drops, and reports a slow consumer: the room is verified then."""
_FLUSH_S: Final = 5


class _Following:
    __slots__ = ("_client", "_subscription")

    def __init__(self, client: Client, subscription: Subscription) -> None:
        self._client = client
        self._subscription = subscription

    async def close(self) -> None:
        if self._client.is_closed:
            return
        try:
            await self._subscription.unsubscribe()
        except AWAY as error:
            log.debug("unsubscribing while NATS is away: %r", error)


class CoreLiveFeed:
    def __init__(self, client: Client) -> None:
        self._client = client

    async def follow(self, room: str, receive: Callable[[LiveMessage], None]) -> _Following:
        async def on_message(message: Msg) -> None:
            headers = message.headers
            if headers is None or "Nats-Sequence" not in headers:
                receive(LiveMessage(message.data))
                return
            receive(LiveMessage(message.data, int(headers["Nats-Sequence"]), int(headers["Nats-Last-Sequence"])))

        try:
            subscription = await self._client.subscribe(
                live_subject(room),
                cb=on_message,
                pending_msgs_limit=_PENDING_MESSAGES,
                pending_bytes_limit=_PENDING_BYTES,
            )
            following = _Following(self._client, subscription)
            await self._client.flush(_FLUSH_S)
        except AWAY as error:
            raise Unavailable(f"following {room}: NATS does not answer ({type(error).__name__})") from error
        return following

    async def pass_on(self, room: str, payload: bytes) -> None:
        try:
            await self._client.publish(live_subject(room), payload)
        except AWAY as error:
            raise Unavailable(f"passing on to {room}: NATS is away ({type(error).__name__})") from error
