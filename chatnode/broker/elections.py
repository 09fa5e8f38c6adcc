"""Hearing that a stream has a new leader: what it then holds has to be compared with what was seen before."""

from collections.abc import Callable
from typing import Final

from nats.aio.client import Client
from nats.aio.msg import Msg

from chatnode.broker.connection import AWAY
from chatnode.rooms.ports import Unavailable

_SUBJECT: Final = "$JS.EVENT.ADVISORY.STREAM.LEADER_ELECTED.*"


async def follow_elections(client: Client, elected: Callable[[str], None]) -> None:
    """Calls ``elected`` with the name of each stream that gets a leader, for as long as the connection lasts."""

    async def receive(message: Msg) -> None:
        elected(message.subject.rpartition(".")[2])

    try:
        await client.subscribe(_SUBJECT, cb=receive)
    except AWAY as error:
        raise Unavailable(f"following elections: NATS is away ({type(error).__name__})") from error
