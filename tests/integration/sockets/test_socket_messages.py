"""Handshakes and messages over real connections, with the `websockets` client at the other end."""

import asyncio
import contextlib
import json
import logging
import socket
import struct
from typing import cast

import pytest
from websockets.exceptions import InvalidStatus
from websockets.frames import Frame, Opcode

from chatnode.protocol.errors import ErrorCode
from chatnode.transports.websocket.channel import Refusal, SocketLimits
from chatnode.transports.websocket.frames import frame_text
from tests.integration.sockets.conftest import Node, Peers, Serve, closing, until


async def test_text_is_echoed_whatever_its_size(serve: Serve) -> None:
    node = await serve()
    async with node.client() as client:
        assert client.subprotocol == "chat.v1"
        for text in ("", "é", "x" * 125, "x" * 126, "ü" * 32768):
            await client.send(text)
            assert await client.recv() == text


async def test_fragments_make_one_message(serve: Serve) -> None:
    node = await serve()
    async with node.client() as client:
        await client.send(["one, ", "two, ", "", "three"])
        assert await client.recv() == "one, two, three"
    assert node.peers.peers[0].messages == [b"one, two, three"]


async def test_pings_are_answered_with_their_payload(serve: Serve) -> None:
    node = await serve()
    async with node.client() as client:
        answered = await client.ping(b"are you there")
        assert await asyncio.wait_for(answered, 5) >= 0


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        pytest.param(Frame(Opcode.BINARY, b"x").serialize(mask=True), 1003, id="binary"),
        pytest.param(Frame(Opcode.TEXT, b"\xff").serialize(mask=True), 1007, id="bad UTF-8"),
        pytest.param(Frame(Opcode.TEXT, b"x" * 65537).serialize(mask=True), 1009, id="oversize"),
        pytest.param(
            Frame(Opcode.TEXT, b"x" * 65536, fin=False).serialize(mask=True)
            + Frame(Opcode.CONT, b"x").serialize(mask=True),
            1009,
            id="oversize over fragments",
        ),
        pytest.param(Frame(Opcode.TEXT, b"x").serialize(mask=False), 1002, id="unmasked"),
        pytest.param(Frame(Opcode.CONT, b"x").serialize(mask=True), 1002, id="continuation of nothing"),
    ],
)
async def test_what_is_not_allowed_is_told_by_a_close_code_and_reaches_nobody(
    serve: Serve, sent: bytes, code: int
) -> None:
    node = await serve()
    async with node.client() as client:
        client.transport.write(Frame(Opcode.TEXT, b"fine").serialize(mask=True) + sent + b"\x00" * 1000)
        assert (await closing(client))[0] == code
    [peer] = node.peers.peers
    assert await peer.ended() == code
    assert peer.messages == [b"fine"]


async def test_a_violation_is_told_even_to_a_peer_that_goes_on_sending(serve: Serve) -> None:
    node = await serve()
    reader, writer = await node.raw()
    writer.write(node.request())
    await reader.readuntil(b"\r\n\r\n")
    cast("asyncio.ReadTransport", writer.transport).pause_reading()
    for _ in range(50):
        writer.write(b"\xff" * 20_000)
        await asyncio.sleep(0.005)
    cast("asyncio.ReadTransport", writer.transport).resume_reading()
    assert (await asyncio.wait_for(reader.read(), 5))[2:4] == (1002).to_bytes(2, "big")


async def test_what_the_peer_closes_with_is_told_and_echoed(serve: Serve) -> None:
    node = await serve()
    async with node.client() as client:
        await client.close(4321, "bye")
        assert client.close_code == 4321
    assert await node.peers.peers[0].ended() == 4321


async def test_a_peer_that_vanishes_is_closed_with_1006(serve: Serve) -> None:
    node = await serve()
    async with node.client() as client:
        underlying = client.transport.get_extra_info("socket")
        underlying.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.transport.abort()
        assert await node.peers.peers[0].ended() == 1006


async def test_a_peer_that_only_stops_sending_is_closed_with_1006(serve: Serve) -> None:
    node = await serve()
    reader, writer = await node.raw()
    writer.write(node.request())
    await reader.readuntil(b"\r\n\r\n")
    writer.write_eof()
    assert await node.peers.peers[0].ended() == 1006
    assert await reader.read() == b""


async def test_a_frame_in_the_same_packet_as_the_handshake_is_not_lost(serve: Serve) -> None:
    node = await serve()
    reader, writer = await node.raw()
    writer.write(node.request() + Frame(Opcode.TEXT, b"early").serialize(mask=True))
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ")
    assert await reader.readexactly(7) == frame_text(b"early")


async def test_the_application_learns_who_comes(serve: Serve) -> None:
    node = await serve()
    async with node.client(additional_headers={"Authorization": "Bearer abc"}) as client:
        [peer] = node.peers.peers
        assert peer.channel.authorization == "Bearer abc"
        host, port = client.local_address
        assert peer.channel.peer == f"{host}:{port}"


@pytest.mark.parametrize(
    ("options", "status", "code"),
    [
        ({"uri": "/v1/other"}, 404, "not_found"),
        ({"subprotocols": None}, 400, "invalid"),
        ({"origin": "https://evil.example"}, 403, "forbidden"),
    ],
)
async def test_a_wrong_handshake_gets_an_http_error(
    serve: Serve, options: dict[str, object], status: int, code: str
) -> None:
    node = await serve()
    if "uri" in options:
        options = options | {"uri": f"ws://127.0.0.1:{node.port}{options['uri']}"}
    with pytest.raises(InvalidStatus) as refused:
        async with node.client(**options):
            pass
    assert refused.value.response.status_code == status
    assert json.loads(refused.value.response.body)["error"]["code"] == code
    assert node.peers.peers == []
    assert node.host.counts.refused == 1


async def test_pages_of_the_nodes_own_and_of_listed_origins_may_connect(serve: Serve) -> None:
    node = await serve(SocketLimits(allowed_origins=frozenset({"https://platform.example"})))
    for origin in (f"http://127.0.0.1:{node.port}", "https://platform.example"):
        async with node.client(origin=origin) as client:
            await client.send("hello")
            assert await client.recv() == "hello"


async def test_another_version_of_websockets_is_told_which_one_is_spoken(serve: Serve) -> None:
    node = await serve()
    reader, writer = await node.raw()
    writer.write(node.request(**{"Sec-WebSocket-Version": "8"}))
    answer = await asyncio.wait_for(reader.read(), 5)
    assert answer.startswith(b"HTTP/1.1 426 ")
    assert b"Sec-WebSocket-Version: 13\r\n" in answer


async def test_a_post_is_refused_and_its_body_is_no_second_handshake(serve: Serve) -> None:
    node = await serve()
    reader, writer = await node.raw()
    writer.write(node.request("POST", **{"Content-Length": "4"}) + b"body" + node.request())
    answer = await asyncio.wait_for(reader.read(), 5)
    assert answer.count(b"HTTP/1.1") == 1
    assert answer.startswith(b"HTTP/1.1 405 ")
    assert node.host.counts.refused == 1


async def test_a_node_that_takes_nobody_says_so_before_the_handshake(serve: Serve) -> None:
    node = await serve(peers=Peers(refusal=Refusal(ErrorCode.UNAVAILABLE, "draining", retry_after=7)))
    with pytest.raises(InvalidStatus) as refused:
        async with node.client():
            pass
    assert refused.value.response.status_code == 503
    assert refused.value.response.headers["Retry-After"] == "7"
    assert json.loads(refused.value.response.body)["error"]["retryable"] is True


async def test_http_is_served_beside_sockets_and_kept_alive(serve: Serve) -> None:
    node = await serve()
    reader, writer = await node.raw()
    for body in (b"", b"four"):
        writer.write(f"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        assert head.startswith(b"HTTP/1.1 200 ")
        assert json.loads(await reader.readuntil(b"}")) == {"path": "/x", "body": len(body)}


async def test_a_fault_in_the_application_ends_that_connection_and_no_other(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    node = await serve()
    async with node.client() as client, node.client() as other:
        node.peers.peers[0].fails = True
        with caplog.at_level(logging.CRITICAL):
            await client.send("boom")
            assert (await closing(client))[0] == 1011
        await other.send("fine")
        assert await other.recv() == "fine"


async def test_a_fault_while_accepting_ends_the_connection_and_leaks_nothing(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    node = await serve(peers=Peers(fails=True))
    with caplog.at_level(logging.CRITICAL):
        async with node.client() as client:
            assert (await closing(client))[0] == 1011
    await until(lambda: not node.server.server_state.connections)


async def test_all_that_is_written_in_one_iteration_is_one_write(serve: Serve) -> None:
    node = await serve()
    async with node.client() as client, node.client() as other:
        framed = [frame_text(str(number).encode()) for number in range(100)]
        before = node.host.counts.writes
        for one in framed:
            for peer in node.peers.peers:
                peer.channel.write(one)
        for receiver in (client, other):
            assert [await receiver.recv() for _ in framed] == [str(number) for number in range(100)]
        assert node.host.counts.writes == before + 2
        assert node.host.counts.frames == 200


async def test_what_was_written_before_close_arrives_before_it(serve: Serve) -> None:
    node = await serve()
    async with node.client() as client:
        [peer] = node.peers.peers
        peer.channel.send(b"last words")
        peer.channel.close(4004, "going")
        peer.channel.send(b"never")
        assert await client.recv() == "last words"
        assert await closing(client) == (4004, "going")
    assert await peer.ended() == 4004


async def test_reading_can_be_paused_and_nothing_is_lost_or_turned_round(serve: Serve) -> None:
    node = await serve()
    async with node.client() as client:
        [peer] = node.peers.peers
        peer.channel.pause_reading()
        numbers = [str(number) for number in range(200)]
        for number in numbers:
            await client.send(number)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(client.recv(), 0.1)
        assert peer.messages == []
        peer.channel.resume_reading()
        assert [await client.recv() for _ in numbers] == numbers


async def test_a_receiver_may_pause_after_each_message(serve: Serve) -> None:
    node = await serve(peers=Peers(echo=False))
    async with node.client() as client:
        [peer] = node.peers.peers
        received = peer.received

        def pausing(payload: bytes) -> None:
            received(payload)
            peer.channel.pause_reading()

        peer.received = pausing  # type: ignore[method-assign]
        numbers = [str(number).encode() for number in range(20)]
        client.transport.write(b"".join(Frame(Opcode.TEXT, number).serialize(mask=True) for number in numbers))
        await until(lambda: bool(peer.messages))
        for number in range(20):
            await asyncio.sleep(0.001)
            assert peer.messages == numbers[: number + 1]
            peer.channel.resume_reading()


async def test_a_node_that_closes_while_it_does_not_read_hears_the_peers_answer(serve: Serve) -> None:
    node = await serve(SocketLimits(close_timeout_s=30))
    async with node.client() as client:
        [peer] = node.peers.peers
        peer.channel.pause_reading()
        await client.send("not read any more")
        await asyncio.sleep(0.05)
        peer.channel.close(4501, "revoked")
        peer.channel.close(4000, "too late")
        await until(lambda: node.host.counts.open == 0, 4)
        assert await closing(client) == (4501, "revoked")
        assert await peer.ended() == 4501
        assert peer.messages == []
        assert peer.channel.buffered == 0


async def test_what_comes_after_the_nodes_close_is_dropped(serve: Serve) -> None:
    node = await serve()
    reader, writer = await node.raw()
    writer.write(node.request())
    await reader.readuntil(b"\r\n\r\n")
    [peer] = node.peers.peers
    peer.channel.close(4004, "")
    late = Frame(Opcode.TEXT, b"late").serialize(mask=True) + Frame(Opcode.PING, b"").serialize(mask=True)
    writer.write(late + b"\xff\xff\xff")
    assert await asyncio.wait_for(reader.read(), 1.5) == b"\x88\x02\x0f\xa4"
    assert await peer.ended() == 4004
    assert peer.messages == []


async def test_a_server_that_stops_sends_everybody_away_to_reconnect(serve: Serve) -> None:
    node = await serve()
    async with node.client() as client, node.client() as other:
        node.server.should_exit = True
        async with asyncio.timeout(1.5):
            assert (await closing(client))[0] == 4004
            assert (await closing(other))[0] == 4004
    assert [await peer.ended() for peer in node.peers.peers] == [4004, 4004]


async def test_many_come_and_go_and_nothing_stays_behind(serve: Serve) -> None:
    node = await serve()

    async def visit(node: Node, number: int) -> None:
        async with node.client() as client:
            await client.send(str(number))
            assert await client.recv() == str(number)

    await asyncio.gather(*(visit(node, number) for number in range(100)))
    await until(lambda: node.host.counts.open == 0 and not node.server.server_state.connections)
    assert node.host.counts.opened == 100
    assert node.host.clogged == 0
