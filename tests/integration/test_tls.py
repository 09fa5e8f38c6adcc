"""Nodes and workers reach NATS and MongoDB over TLS, and give no password to who cannot show a certificate."""

import asyncio
import logging
import signal
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from chatnode.broker.connection import connect
from chatnode.local.cluster import LocalCluster
from chatnode.local.servers import NatsServer
from tests.integration.peers import enter, say
from tests.integration.promises import make_room
from tests.integration.tls_servers import Authority, TlsMongod, TlsNats
from tests.integration.worker_bench import until

pytestmark = pytest.mark.usefixtures("pymongo_sockets")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "certificates")


@asynccontextmanager
async def refused(url: str, ca_file: Path, caplog: pytest.LogCaptureFixture) -> AsyncIterator[list[str]]:
    """What a client that tries to get in says, and that it does not get in."""
    words: list[str] = []
    with caplog.at_level(logging.WARNING, "chatnode.broker.connection"):
        trying = asyncio.create_task(connect(url, name="test", ca_file=str(ca_file)))
        async with asyncio.timeout(20):
            while not caplog.messages and not trying.done():
                await asyncio.sleep(0.02)
        assert not trying.done()
        words.extend(caplog.messages)
        yield words
        trying.cancel()
        await asyncio.gather(trying, return_exceptions=True)


async def test_people_talk_where_both_datastores_speak_tls(tmp_path: Path, authority: Authority) -> None:
    async with TlsNats(tmp_path / "nats", authority) as nats, TlsMongod(tmp_path / "mongod", authority) as mongod:
        settings = {
            "CHAT_NATS_URL": nats.url,
            "CHAT_NATS_CA_FILE": str(authority.file),
            "CHAT_MONGODB_URI": mongod.uri,
        }
        async with LocalCluster(tmp_path / "data", nodes=1, settings=settings) as cluster:
            room = await make_room(cluster, ["ann", "ben"])
            ann, ben = await enter(cluster, 0, "ann", room), await enter(cluster, 0, "ben", room)
            assert (await ann.ask(say(room, "over TLS")))["type"] == "ack"
            assert await ben.texts(1) == ["over TLS"]
            for peer in (ann, ben):
                await peer.socket.close()


async def test_a_server_without_tls_is_told_nothing(authority: Authority, caplog: pytest.LogCaptureFixture) -> None:
    heard = bytearray()

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"server_id":"x","version":"2.15.1","max_payload":1048576,"auth_required":true}\r\n')
        heard.extend(await reader.read(4096))
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with refused(f"nats://node:word@127.0.0.1:{port}", authority.file, caplog) as words:
            assert "no TLS" in words[0]
    assert heard == b""


async def test_a_server_of_another_authority_is_refused(
    tmp_path: Path, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    other = Authority(tmp_path / "other")
    async with TlsNats(tmp_path / "nats", other) as nats, refused(nats.url, authority.file, caplog) as words:
        assert "certificate verify failed" in words[0]


async def test_a_server_of_another_name_is_refused(
    tmp_path: Path, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    authority.renew(["elsewhere"])
    async with TlsNats(tmp_path / "nats", authority) as nats, refused(nats.url, authority.file, caplog) as words:
        assert "Hostname mismatch" in words[0]


async def test_a_certificate_is_renewed_under_open_connections(tmp_path: Path, authority: Authority) -> None:
    async with TlsNats(tmp_path / "nats", authority) as nats:
        client = await connect(nats.url, name="test", ca_file=str(authority.file))
        before = await shown(nats, authority)
        authority.renew()
        nats.child.signal(signal.SIGHUP)

        async def renewed() -> bool:
            return await shown(nats, authority) != before

        await until(renewed)
        await client.flush()
        assert client.stats["reconnects"] == 0
        await client.close()


async def test_an_authority_that_was_replaced_is_believed_from_the_next_connection_on(tmp_path: Path) -> None:
    first = Authority(tmp_path / "certificates")
    nats = TlsNats(tmp_path / "nats", first)
    async with nats:
        client = await connect(nats.url, name="test", ca_file=str(first.file))
        Authority(tmp_path / "certificates")
        await nats.stop()
        await nats.start()

        async def back() -> bool:
            return client.is_connected and client.stats["reconnects"] > 0

        await until(back)
        await client.close()


async def shown(nats: NatsServer, authority: Authority) -> bytes | None:
    """The certificate that a server shows."""
    reader, writer = await asyncio.open_connection("localhost", nats.port)
    try:
        await reader.readline()
        await writer.start_tls(ssl.create_default_context(cafile=str(authority.file)), server_hostname="localhost")
        found: bytes | None = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return found
    finally:
        writer.close()
