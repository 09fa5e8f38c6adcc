"""Presence gossip between nodes, over one core subject; at most once, repaired by versions."""

import logging
from collections.abc import Callable
from typing import Final

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg

from chatnode.broker.connection import AWAY
from chatnode.rooms.ports import Unavailable
from chatnode.rooms.presence import Gossip, decode_gossip, encode_gossip

logger = logging.getLogger(__name__)

PRESENCE_SUBJECT: Final = "presence"


class GossipLink:
    def __init__(self, client: Client) -> None:
        self._client = client

    async def listen(self, hear: Callable[[Gossip], Gossip | None]) -> None:
        """Calls ``hear`` for each message and sends what it returns. Ends with the connection. :class:`Unavailable`
        where NATS is away."""

        async def on_message(message: Msg) -> None:
            try:
                heard = decode_gossip(message.data)
            except msgspec.DecodeError as error:
                logger.warning("presence: a message that cannot be read: %s", error)
                return
            answer = hear(heard)
            if answer is not None:
                await self.tell(answer)

        try:
            await self._client.subscribe(PRESENCE_SUBJECT, cb=on_message)
        except AWAY as error:
            raise Unavailable(f"following presence: NATS is away ({type(error).__name__})") from error

    async def tell(self, message: Gossip) -> None:
        """Lost when NATS is away; the next beat shows the others that they missed something."""
        try:
            await self._client.publish(PRESENCE_SUBJECT, encode_gossip(message))
        except AWAY as error:
            logger.debug("presence was not told: %r", error)
