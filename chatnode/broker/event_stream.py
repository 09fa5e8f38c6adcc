"""One stream as the worker sees it: its configuration, its state, and feeds of it."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from msgspec import Struct
from nats.aio.client import Client

from chatnode.broker.acks import decode_ack
from chatnode.broker.connection import AWAY
from chatnode.broker.consume import Puller
from chatnode.broker.direct import DirectReader
from chatnode.broker.streams import StreamConfig, Streams, is_closed
from chatnode.broker.subjects import partition_of, room_subject, stream_name
from chatnode.protocol.envelope import Envelope, encode_envelope
from chatnode.protocol.ids import message_id
from chatnode.rooms.ports import Stored, Unavailable

_PUBLISH_S: Final = 5.0
_EVERYTHING: Final = ">"
_SERVERS_ASKED: Final = 12
"""One of the servers of a stream answers, at random: that the same one of three always does is one in 500,000."""
_RESCUED_MAX: Final = 5_000


def _ignore(_count: int) -> None:
    return None


class View(Struct, frozen=True):
    epoch: int
    first_seq: int
    last_seq: int
    closed: bool
    size: int
    max_bytes: int
    replicated: bool


class NatsEventStream:
    """Implements :class:`chatnode.worker.ports.EventStream`.

    ``configure(epoch, first_seq)`` gives the configuration that the stream is to have.
    """

    def __init__(
        self,
        client: Client,
        name: str,
        consumer: str,
        configure: Callable[[int, int], StreamConfig],
        *,
        apart: float = 0.0,
    ) -> None:
        """``apart``: seconds between two batches of a steady flow, at least."""
        self.name = name
        self._apart = apart
        self._client = client
        self._consumer = consumer
        self._configure = configure
        self._streams = Streams(client)
        self._reader = DirectReader(client)

    async def view(self) -> View | None:
        found = await self._streams.find(self.name)
        if found is None:
            return None
        first, last, size = found.state.first_seq, found.state.last_seq, found.state.bytes
        return View(found.epoch, first, last, is_closed(found), size, found.max_bytes, found.replicas > 1)

    async def at(self, seq: int) -> Stored | None:
        return await self._reader.at(self.name, seq)

    async def rescued(self, missing: range) -> list[Stored]:
        found: dict[int, Stored] = {}
        reader = DirectReader(self._client)
        await reader.start()
        try:
            for _ in range(_SERVERS_ASKED):
                found |= await self._held(reader, missing)
                if len(found) >= min(len(missing), _RESCUED_MAX):
                    break
        finally:
            await reader.stop()
        return [found[seq] for seq in sorted(found)]

    async def _held(self, reader: DirectReader, wanted: range) -> dict[int, Stored]:
        """By whoever answers."""
        found: dict[int, Stored] = {}
        position = wanted.start - 1
        while position < wanted.stop - 1 and len(found) < _RESCUED_MAX:
            messages, _ = await reader.after(self.name, _EVERYTHING, position)
            found.update((message.seq, message) for message in messages if message.seq in wanted)
            if not messages:
                break
            position = messages[-1].seq
        return found

    async def open(self, *, epoch: int, first_seq: int) -> None:
        await self._streams.ensure(self._configure(epoch, first_seq))

    async def close(self) -> None:
        await self._streams.close(self._configure(0, 0))

    async def drop_below(self, seq: int, *, subject: str | None = None) -> int:
        return await self._streams.purge_below(self.name, seq, subject=subject)

    async def first_since(self, ts: int) -> int | None:
        return await self._streams.first_since(self.name, datetime.fromtimestamp(ts / 1000, UTC))

    def feed(self, start: int, repeated: Callable[[int], None] = _ignore) -> Puller:
        return Puller(self._client, self.name, self._consumer, start=start, repeated=repeated, apart=self._apart)


class EnvelopePublisher:
    """Stores single events of the system in their rooms' streams: :class:`chatnode.worker.ports.EventSink`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def publish(self, envelope: Envelope) -> None:
        headers = {
            "Nats-Msg-Id": message_id(envelope.user, envelope.id),
            "Nats-Expected-Stream": stream_name(partition_of(envelope.room)),
        }
        if envelope.traceparent is not None:
            headers["traceparent"] = envelope.traceparent
        subject = room_subject(envelope.room)
        try:
            answer = await self._client.request(subject, encode_envelope(envelope), timeout=_PUBLISH_S, headers=headers)
        except AWAY as error:
            raise Unavailable(f"storing {subject}: NATS does not answer ({type(error).__name__})") from error
        refused = decode_ack(answer.data).error
        if refused is not None:
            raise Unavailable(f"storing {subject}: {refused.description} ({refused.err_code})")
