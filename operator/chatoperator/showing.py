"""Which certificate a server shows: a TLS handshake after which nothing is said."""

import asyncio
import hashlib
import socket
import ssl
from typing import Final

_DEADLINE_S: Final = 4.0
_LONGEST_GREETING: Final = 64 * 1024


async def shown(member: str, *, greets: bool) -> str | None:
    """The certificate at ``member`` (``host:port``): SHA-256 of its DER form; None where nobody answers in time.

    ``greets``: the server says a line in plain text first, as NATS does (INFO).
    """
    try:
        async with asyncio.timeout(2 * _DEADLINE_S):
            return await asyncio.to_thread(_shown, member, greets=greets)
    except (OSError, TimeoutError):
        return None


def _shown(member: str, *, greets: bool) -> str:
    """In a thread: asyncio's streams of Python 3.11 complain when a peer ends what was upgraded to TLS."""
    host, _, port = member.rpartition(":")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with socket.create_connection((host, int(port)), timeout=_DEADLINE_S) as plain:
        greeting = b""
        while greets and not greeting.endswith(b"\n") and len(greeting) < _LONGEST_GREETING:
            read = plain.recv(4096)
            if not read:
                raise ConnectionResetError(f"{member} hung up before it had greeted")
            greeting += read
        with context.wrap_socket(plain, server_hostname=host) as spoken:
            return hashlib.sha256(spoken.getpeercert(binary_form=True) or b"").hexdigest()
