"""The least of HTTP that tells whether something answers."""

import asyncio
import re
from typing import Final

_STATUS: Final = re.compile(rb"HTTP/1\.[01] (\d{3})\b")


async def http_status(port: int, path: str, *, within_s: float = 2.0) -> int | None:
    """The status of ``GET path`` on loopback; None when there is no answer in time. OSError when nobody listens."""
    try:
        async with asyncio.timeout(within_s):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n".encode("ascii"))
                found = _STATUS.match(await reader.readline())
            finally:
                writer.close()
    except TimeoutError:
        return None
    return int(found[1]) if found else None
