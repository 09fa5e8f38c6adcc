"""Talking to the servers of a managed NATS, as its system account (nats-server, ``$SYS.REQ.SERVER``)."""

import ssl
from collections.abc import Mapping
from typing import Final

import msgspec
import nats
from nats.aio.client import Client
from nats.errors import Error

from chatoperator.objects import Json, text

_DEADLINE_S: Final = 4


class NatsRefused(Exception):
    """A server did not do what was asked; tried again at a later visit."""


async def reload(members: Mapping[str, str], password: str, trust: str) -> None:
    """Have the servers at ``members`` (name → ``host:port``) read their files again, certificates included.

    Open connections stay. Raises :class:`NatsRefused`.
    """

    async def told(_error: Exception) -> None:
        return None

    for name, member in members.items():
        client = Client()
        try:
            await client.connect(
                f"tls://{member}",
                user="system",
                password=password,
                tls=ssl.create_default_context(cadata=trust),
                allow_reconnect=False,
                connect_timeout=_DEADLINE_S,
                error_cb=told,
            )
            await _reload(client, name)
        except (Error, OSError, TimeoutError, nats.errors.TimeoutError) as error:
            raise NatsRefused(f"{member}: {error!r}") from error
        finally:
            await client.close()


async def _reload(client: Client, name: str) -> None:
    wanted: Json = {"server_name": name, "exact_match": True}
    answer = await client.request("$SYS.REQ.SERVER.PING.STATSZ", msgspec.json.encode(wanted), timeout=_DEADLINE_S)
    server = text(msgspec.json.decode(answer.data), "server", "id")
    done = await client.request(f"$SYS.REQ.SERVER.{server}.RELOAD", b"", timeout=_DEADLINE_S)
    refused = text(msgspec.json.decode(done.data), "error", "description")
    if refused:
        raise NatsRefused(f"{name}: {refused}")
