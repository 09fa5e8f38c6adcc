"""Python client of the chat cluster: for platform backends, bots, tests and benchmarks.

    async with Client("wss://chat.example/v1/ws", token) as client:
        room = await client.subscribe("course-1")
        ack = await client.send("course-1", "Bonjour")
        async for event in client.events():
            ...

Belongs here: what speaks protocol v1 from the client's side. The machine is sans-I/O; the driver is thin. Never here:
anything of the nodes but ``chatnode.protocol``.
"""

from chatclient.answers import Ack, Page, Presence, Room
from chatclient.client import Client, new_id
from chatclient.errors import (
    ClientError,
    Ended,
    Malformed,
    OutboxFailed,
    OutboxFull,
    Refused,
    Unanswered,
    Withdrawn,
)
from chatclient.journal import Unsent
from chatclient.ladder import LADDER, Transport
from chatclient.machine import Timing

__all__ = [
    "LADDER",
    "Ack",
    "Client",
    "ClientError",
    "Ended",
    "Malformed",
    "OutboxFailed",
    "OutboxFull",
    "Page",
    "Presence",
    "Refused",
    "Room",
    "Timing",
    "Transport",
    "Unanswered",
    "Unsent",
    "Withdrawn",
    "new_id",
]
