"""Servers that were there before: asked once whether they answer, so that a wrong URL is told at the start."""

import asyncio
from collections.abc import Sequence
from urllib.parse import urlsplit

from pymongo import AsyncMongoClient
from pymongo.errors import PyMongoError

from chatnode.local.children import ServerError

_WITHIN_S = 5.0


async def check_nats(urls: Sequence[str]) -> None:
    """:class:`ServerError` unless one of them takes a connection. Credentials in a URL are not shown."""
    places = []
    for url in urls:
        parts = urlsplit(url)
        host, port = parts.hostname or "127.0.0.1", parts.port or 4222
        places.append(f"{host}:{port}")
        try:
            async with asyncio.timeout(_WITHIN_S):
                _, writer = await asyncio.open_connection(host, port)
        except (OSError, TimeoutError):
            continue
        writer.close()
        return
    raise ServerError(
        f"CHAT_NATS_URL names {', '.join(places)}, where no server answers: start it, "
        "or unset the variable to have one started here"
    )


async def check_mongodb(uri: str) -> None:
    """:class:`ServerError` unless a primary answers there."""
    try:
        client: AsyncMongoClient[dict[str, object]] = AsyncMongoClient(
            uri, serverSelectionTimeoutMS=int(_WITHIN_S * 1000)
        )
        async with client:
            await client.admin.command("ping")
    except PyMongoError as error:
        reason = str(error).partition(",")[0][:300]
        raise ServerError(
            f"CHAT_MONGODB_URI names a server that does not answer ({reason}): start it, "
            "or unset the variable to have one started here"
        ) from error
