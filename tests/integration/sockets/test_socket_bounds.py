"""What peers cannot do to a node: hold its memory, its connections or its other clients up."""

import asyncio
import socket
import time
from itertools import count

import pytest

from chatnode.transports.websocket.channel import SocketLimits
from chatnode.transports.websocket.frames import frame_text
from tests.integration.sockets.conftest import Peers, Serve, closing, until

KIB = 1024
GRACE_S = 2
"""What a busy machine may add to a time."""
QUICK = SocketLimits(
    send_buffer_bytes=128 * KIB, kernel_buffer_bytes=8 * KIB, heartbeat_s=60, close_timeout_s=0.4, header_timeout_s=0.4
)


async def test_a_reader_that_is_too_slow_is_closed_and_nobody_else_waits(serve: Serve) -> None:
    node = await serve(QUICK, Peers(echo=False))
    async with node.client() as reader:
        slow, _writer = await node.stalled()
        fast = node.peers.peers[0]
        assert slow is not fast
        most = 0
        delays: list[float] = []
        for number in count():
            sent = time.monotonic()
            framed = frame_text(f"{number} ".encode() + b"x" * 8 * KIB)
            for peer in (slow, fast):
                peer.channel.write(framed)
            most = max(most, node.host.waiting)
            await reader.recv()
            delays.append(time.monotonic() - sent)
            if slow.code is not None:
                break
            assert number < 1000
        assert slow.code == 4001
        assert fast.code is None
        assert most <= QUICK.send_buffer_bytes + 64 * KIB
        assert sorted(delays)[len(delays) // 2] < GRACE_S
        assert node.host.counts.slow_readers == 1
        closed_at = time.monotonic()
        await until(lambda: node.host.counts.open == 1)
        assert time.monotonic() - closed_at < QUICK.close_timeout_s + GRACE_S
        assert node.host.waiting == 0


async def test_too_many_small_frames_make_a_slow_reader_too(serve: Serve) -> None:
    limits = SocketLimits(send_buffer_frames=500, kernel_buffer_bytes=4 * KIB, close_timeout_s=0.4)
    node = await serve(limits, Peers(echo=False))
    slow, _writer = await node.stalled()
    most = 0
    for _ in range(20_000):
        slow.channel.write(frame_text(b"x" * 100))
        if slow.code is not None:
            break
        most = max(most, node.host.waiting)
        await asyncio.sleep(0)
    assert slow.code == 4001
    assert most < 100 * KIB


async def test_a_slow_reader_that_reads_on_is_told_why_it_was_closed(serve: Serve) -> None:
    node = await serve(SocketLimits(send_buffer_bytes=64 * KIB, kernel_buffer_bytes=8 * KIB), Peers(echo=False))
    async with node.client(max_queue=1) as client:
        [peer] = node.peers.peers
        while peer.code is None:
            peer.channel.send(b"x" * 16 * KIB)
            await asyncio.sleep(0)
        assert (await closing(client))[0] == 4001


async def test_one_large_frame_is_no_reason_to_close(serve: Serve) -> None:
    node = await serve(QUICK, Peers(echo=False))
    async with node.client(max_size=None, max_queue=1) as client:
        [peer] = node.peers.peers
        page = b"p" * 2048 * KIB
        peer.channel.send(page)
        for _ in range(10):
            await asyncio.sleep(0.01)
            peer.channel.send(b"live")
        assert await client.recv() == page.decode()
        assert [await client.recv() for _ in range(10)] == ["live"] * 10
        assert peer.code is None
        await until(lambda: peer.drains > 0)
        assert peer.channel.buffered == 0


async def test_what_one_iteration_queues_has_a_limit_too(serve: Serve) -> None:
    node = await serve(QUICK, Peers(echo=False))
    async with node.client(max_size=None) as client:
        [peer] = node.peers.peers
        for _ in range(6):
            peer.channel.send(b"x" * QUICK.send_buffer_bytes)
        assert peer.channel.buffered > 6 * QUICK.send_buffer_bytes
        assert await peer.ended() == 4001
        assert peer.channel.buffered < QUICK.send_buffer_bytes
        assert (await closing(client))[0] == 4001


async def test_beyond_the_nodes_limit_the_worst_readers_go_first(serve: Serve) -> None:
    limits = SocketLimits(
        send_buffer_bytes=4096 * KIB, node_buffer_bytes=1536 * KIB, kernel_buffer_bytes=8 * KIB, close_timeout_s=30
    )
    node = await serve(limits, Peers(echo=False))
    stalled = [await node.stalled() for _ in range(3)]
    bad, worse, good = (peer for peer, _ in stalled)
    for peer, size in ((good, 300), (bad, 500), (worse, 900)):
        peer.channel.send(b"x" * size * KIB)
        await asyncio.sleep(0.05)
    good.channel.send(b"and one more")
    assert await worse.ended() == 4001
    await until(lambda: node.host.counts.open == 2)
    assert (bad.code, good.code) == (None, None)
    assert node.host.waiting <= limits.node_buffer_bytes


async def test_pings_that_nobody_reads_the_answers_of_are_no_way_to_fill_memory(serve: Serve) -> None:
    node = await serve(QUICK)
    peer, writer = await node.stalled()
    ping = b"\x89\xfd\x00\x00\x00\x00" + b"p" * 125
    while peer.code is None:
        writer.write(ping * 100)
        await asyncio.sleep(0)
        assert node.host.waiting < 2 * QUICK.send_buffer_bytes
    assert peer.code == 4001


async def test_a_peer_that_does_not_answer_a_close_is_cut(serve: Serve) -> None:
    node = await serve(QUICK)
    peer, _writer = await node.stalled()
    began = time.monotonic()
    peer.channel.close(4500, "token refused")
    assert await peer.ended() == 4500
    assert QUICK.close_timeout_s <= time.monotonic() - began < QUICK.close_timeout_s + GRACE_S
    assert node.host.counts.open == 0


async def test_a_peer_that_closes_but_reads_nothing_is_cut(serve: Serve) -> None:
    node = await serve(QUICK, Peers(echo=False))
    peer, writer = await node.stalled()
    peer.channel.send(b"x" * 100 * KIB)
    await asyncio.sleep(0.05)
    writer.write(b"\x88\x82\x00\x00\x00\x00\x03\xe8")
    assert await peer.ended() == 1000
    await until(lambda: node.host.counts.open == 0, QUICK.close_timeout_s + GRACE_S)


async def test_a_peer_that_violates_the_protocol_and_stays_is_cut(serve: Serve) -> None:
    node = await serve(QUICK)
    reader, writer = await node.raw()
    writer.write(node.request())
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"\xff\xff")
    assert (await reader.readexactly(4))[:4] == b"\x88\x27\x03\xea"
    await until(lambda: node.host.counts.open == 0, QUICK.close_timeout_s + GRACE_S)


async def cut_within(reader: asyncio.StreamReader, seconds: float) -> bytes:
    """What the node sent until it ended the connection."""
    async with asyncio.timeout(seconds):
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""


async def test_a_peer_that_says_nothing_is_cut(serve: Serve) -> None:
    node = await serve(QUICK)
    reader, _writer = await node.raw()
    assert await cut_within(reader, QUICK.header_timeout_s + GRACE_S) == b""
    assert node.host.counts.cut_requests == 1


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(b"", id="the first request"),
        pytest.param(b"GET /1 HTTP/1.1\r\nHost: h\r\n\r\n", id="a later request of a connection that is kept alive"),
        pytest.param(
            b"POST /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabcGET", id="a request behind another one"
        ),
    ],
)
async def test_a_dripped_header_is_cut_in_time(serve: Serve, first: bytes) -> None:
    node = await serve(QUICK)
    reader, writer = await node.raw()
    if first:
        writer.write(first)
        await reader.readuntil(b"}")
    cut = asyncio.create_task(cut_within(reader, QUICK.header_timeout_s + GRACE_S))
    began = time.monotonic()
    drip = b"" if first.endswith(b"GET") else b"GET"
    for byte in drip + b" /v1/ws HTTP/1.1\r\nHost: h\r\nX-Slow: " + b"x" * 1000:
        if cut.done() or writer.transport.is_closing():
            break
        writer.write(bytes([byte]))
        await asyncio.sleep(0.02)
    await cut
    assert time.monotonic() - began < QUICK.header_timeout_s + GRACE_S
    assert node.host.counts.cut_requests == 1


async def test_a_header_behind_an_unanswered_request_is_cut_in_time(serve: Serve) -> None:
    node = await serve(QUICK)
    reader, writer = await node.raw()
    writer.write(b"GET /never HTTP/1.1\r\nHost: h\r\n\r\nGET /x HTTP/1.1\r\nHos")
    await cut_within(reader, QUICK.header_timeout_s + GRACE_S)
    assert node.host.counts.cut_requests == 1


async def test_an_unanswered_request_is_not_cut(serve: Serve) -> None:
    node = await serve(QUICK)
    _, writer = await node.raw()
    writer.write(b"GET /never HTTP/1.1\r\nHost: h\r\n\r\n")
    await asyncio.sleep(3 * QUICK.header_timeout_s)
    assert node.host.counts.cut_requests == 0
    assert len(node.server.server_state.connections) == 1


async def test_empty_lines_do_not_keep_a_connection_alive(serve: Serve) -> None:
    node = await serve(QUICK)
    reader, writer = await node.raw()
    writer.write(b"GET /1 HTTP/1.1\r\nHost: h\r\n\r\n")
    await reader.readuntil(b"}")
    writer.write(b"\r\n")
    await cut_within(reader, QUICK.header_timeout_s + GRACE_S)
    assert node.host.counts.cut_requests == 1


async def test_a_dripped_body_is_cut_in_time(serve: Serve) -> None:
    node = await serve(SocketLimits(body_timeout_s=0.4))
    reader, writer = await node.raw()
    writer.write(b"POST /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\nx")
    await cut_within(reader, QUICK.header_timeout_s + GRACE_S)
    assert node.host.counts.cut_requests == 1


async def test_an_endless_header_is_cut_at_its_limit(serve: Serve) -> None:
    node = await serve()
    reader, writer = await node.raw()
    writer.write(b"GET /v1/ws HTTP/1.1\r\n")
    for number in range(10_000):
        if writer.transport.is_closing() or node.host.counts.cut_requests:
            break
        writer.write(f"X-{number}: {'x' * 100}\r\n".encode())
        await asyncio.sleep(0)
    await cut_within(reader, QUICK.header_timeout_s + GRACE_S)
    assert node.host.counts.cut_requests == 1


@pytest.mark.parametrize("ended", [False, True], ids=["the answer goes on", "the answer is complete"])
async def test_an_answer_that_nobody_reads_is_cut_in_time(serve: Serve, ended: bool) -> None:
    node = await serve(SocketLimits(answer_timeout_s=0.4))
    _reader, writer = await node.raw(receive_buffer=4096)
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    size = 190_000 if ended else 5_000_000
    writer.write(f"GET /large?{size} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
    await until(lambda: node.host.counts.slow_readers == 1, 0.4 + GRACE_S)
    await until(lambda: not node.server.server_state.connections)


async def test_an_answer_that_is_read_slowly_comes_whole(serve: Serve) -> None:
    node = await serve(SocketLimits(answer_timeout_s=2.0))
    reader, writer = await node.raw(receive_buffer=4096)
    writer.write(b"GET /large?1000000 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    got = 0
    while chunk := await reader.read(50_000):
        got += len(chunk)
        await asyncio.sleep(0.01)
    assert got > 1_000_000
    assert node.host.counts.slow_readers == 0


async def test_what_is_no_http_is_refused(serve: Serve) -> None:
    node = await serve()
    reader, writer = await node.raw()
    writer.write(b"\x16\x03\x01\x02\x00hello")
    assert (await cut_within(reader, QUICK.header_timeout_s + GRACE_S)).startswith(b"HTTP/1.1 400 ")


async def test_an_open_socket_outlives_the_deadlines_of_requests(serve: Serve) -> None:
    node = await serve(QUICK)
    async with node.client() as client:
        await asyncio.sleep(QUICK.header_timeout_s * 2)
        await client.send("still here")
        assert await client.recv() == "still here"
    assert node.host.counts.cut_requests == 0


async def test_a_silent_peer_is_asked_and_then_closed(serve: Serve) -> None:
    node = await serve(SocketLimits(heartbeat_s=0.3, close_timeout_s=0.2))
    peer, _writer = await node.stalled()
    began = time.monotonic()
    assert await peer.ended() == 4003
    assert 0.6 <= time.monotonic() - began < 0.6 + GRACE_S
    assert node.host.counts.silent == 1


async def test_a_peer_that_answers_pings_or_speaks_is_kept(serve: Serve) -> None:
    # A third of the time that they are watched, and more than a busy machine holds this process up.
    node = await serve(SocketLimits(heartbeat_s=0.5))
    async with node.client() as quiet:
        reader, writer = await node.raw()
        writer.write(node.request())
        await reader.readuntil(b"\r\n\r\n")
        talking = node.peers.peers[1]
        talking.echo = False
        for _ in range(30):
            writer.write(b"\x81\x81\x00\x00\x00\x00x")
            await asyncio.sleep(0.05)
        assert node.host.counts.silent == 0
        assert not reader._buffer  # type: ignore[attr-defined]  # whoever speaks is not asked
        assert await asyncio.wait_for(await quiet.ping(), 5) >= 0


async def test_a_peer_that_is_not_read_is_not_taken_for_silent(serve: Serve) -> None:
    node = await serve(SocketLimits(heartbeat_s=0.2))
    async with node.client() as client:
        [peer] = node.peers.peers
        peer.channel.pause_reading()
        await client.send("later")
        await asyncio.sleep(0.8)
        assert peer.code is None
        peer.channel.resume_reading()
        assert await client.recv() == "later"


async def test_the_kernel_holds_little_for_one_client(serve: Serve) -> None:
    node = await serve(SocketLimits(kernel_buffer_bytes=16 * KIB))
    async with node.client():
        [peer] = node.peers.peers
        transport: asyncio.Transport = peer.channel._transport  # type: ignore[attr-defined]
        assert transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) <= 32 * KIB
