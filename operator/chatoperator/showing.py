"""Which certificate a server shows: a TLS handshake after which nothing is said."""

import asyncio
import hashlib
import ssl
from typing import Final

_DEADLINE_S: Final = 4.0


async def shown(member: str, *, greets: bool) -> str | None:
    """The certificate at ``member`` (``host:port``): SHA-256 of its DER form; None where nobody answers in time.

    ``greets``: the server says a line in plain text first, as NATS does (INFO).
    """
    host, _, port = member.rpartition(":")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        async with asyncio.timeout(_DEADLINE_S):
            reader, writer = await asyncio.open_connection(host, int(port))
            try:
                if greets:
                    await reader.readline()
                await writer.start_tls(context, server_hostname=host)
                der: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            finally:
                writer.transport.abort()
    except (OSError, TimeoutError):
        return None
    return hashlib.sha256(der).hexdigest()
