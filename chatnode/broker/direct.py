"""Reading single messages and ranges from streams without a consumer (ADR-31).

Reads through the leader (:meth:`DirectReader.last`, :meth:`at`, :meth:`state`) are current. Ranges are answered by any
replica and may lag: whoever needs everything up to a sequence asks again until it is there (:meth:`upto`). A replica
whose disk was damaged leaves out what it has lost, and does not say so: whoever cannot do without asks the leader what
lies between (:meth:`whole`).
"""

import asyncio
import itertools
import logging
from collections.abc import Sequence
from datetime import datetime
from email.parser import BytesHeaderParser
from typing import Final

import msgspec
from msgspec import Struct
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from chatnode.broker.connection import AWAY
from chatnode.rooms.ports import Stored, StreamMissing, StreamState, Unavailable

_NOT_FOUND: Final = 10037
_DEADLINE_S: Final = 5.0
_ATTEMPT_S: Final = 1.5
_PAUSE_S: Final = 0.1
_PAGE: Final = 256
_AT_ONCE: Final = 64
"""Questions about what lies between, at the same time."""

log = logging.getLogger(__name__)


class _RawMessage(Struct):
    subject: str
    seq: int
    time: str
    hdrs: bytes = b""
    data: bytes = b""


class _ApiError(Struct):
    code: int = 0
    err_code: int = 0
    description: str = ""


class _GetResponse(Struct):
    message: _RawMessage | None = None
    error: _ApiError | None = None


class _State(Struct):
    first_seq: int
    last_seq: int


class _Config(Struct):
    metadata: dict[str, str] = {}


class _InfoResponse(Struct):
    state: _State | None = None
    config: _Config | None = None
    error: _ApiError | None = None


class _Collector:
    """Messages of one batched answer, until its 204."""

    __slots__ = ("done", "messages", "pending")

    def __init__(self) -> None:
        self.messages: list[Stored] = []
        self.pending = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()


def _milliseconds(text: str) -> int:
    whole, _, rest = text.partition(".")
    moment = datetime.fromisoformat(whole.removesuffix("Z") + "+00:00")
    fraction = rest.removesuffix("Z")
    return round(moment.timestamp()) * 1000 + int((fraction + "000")[:3])


def _parse_headers(raw: bytes) -> dict[str, str]:
    lines = raw.partition(b"\r\n")[2]
    return dict(BytesHeaderParser().parsebytes(lines).items())


class DirectReader:
    def __init__(self, client: Client) -> None:
        self._client = client
        self._inbox = client.new_inbox()
        self._tokens = itertools.count()
        self._collectors: dict[str, _Collector] = {}
        self._subscription: Subscription | None = None
        self._asking = asyncio.Semaphore(_AT_ONCE)

    async def start(self) -> None:
        """:class:`Unavailable` where NATS is away."""
        try:
            self._subscription = await self._client.subscribe(f"{self._inbox}.*", cb=self._collect)
        except AWAY as error:
            raise Unavailable(f"reading streams: NATS is away ({type(error).__name__})") from error

    async def stop(self) -> None:
        """After the connection itself is closed this does nothing."""
        subscription, self._subscription = self._subscription, None
        if subscription is not None and not self._client.is_closed:
            try:
                await subscription.unsubscribe()
            except AWAY:
                return

    async def state(self, stream: str) -> StreamState:
        """As the leader sees it; :class:`StreamMissing` where there is none."""
        answer = await self._ask(f"$JS.API.STREAM.INFO.{stream}", b"", f"state of {stream}")
        info = msgspec.json.decode(answer, type=_InfoResponse)
        if info.error is not None:
            if info.error.code == 404:
                raise StreamMissing(f"stream {stream} does not exist")
            raise Unavailable(f"state of {stream}: {info.error.description}")
        if info.state is None or info.config is None:
            raise Unavailable(f"state of {stream}: an answer without a state")
        return StreamState(info.state.first_seq, info.state.last_seq, info.config.metadata)

    async def last(self, stream: str, subject: str) -> Stored | None:
        """The last message of a subject, from the leader; None when the stream holds none."""
        return await self._get(stream, {"last_by_subj": subject}, f"last of {subject}")

    async def at(self, stream: str, seq: int) -> Stored | None:
        """The message at a sequence, from the leader; None when it was purged or never was."""
        if seq < 1:
            return None
        return await self._get(stream, {"seq": seq}, f"{stream} at {seq}")

    async def _get(self, stream: str, query: dict[str, str | int], what: str) -> Stored | None:
        answer = await self._ask(f"$JS.API.STREAM.MSG.GET.{stream}", msgspec.json.encode(query), what)
        response = msgspec.json.decode(answer, type=_GetResponse)
        if response.error is not None:
            if response.error.err_code == _NOT_FOUND:
                return None
            raise Unavailable(f"{what}: {response.error.description} ({response.error.err_code})")
        raw = response.message
        if raw is None:
            raise Unavailable(f"{what}: an answer without a message")
        return Stored(
            raw.subject,
            raw.seq,
            _milliseconds(raw.time),
            _parse_headers(raw.hdrs) if raw.hdrs else {},
            raw.data,
        )

    async def after(self, stream: str, subject: str, seq: int, limit: int = _PAGE) -> tuple[list[Stored], int]:
        """Up to ``limit`` messages of a subject (wildcards allowed) beyond ``seq``, in order, and how many more wait.

        From any replica: fewer than there are is possible, more than there are is not.
        """
        token = str(next(self._tokens))
        collector = self._collectors[token] = _Collector()
        query = {"seq": seq + 1, "next_by_subj": subject, "batch": limit}
        try:
            async with asyncio.timeout(_DEADLINE_S):
                await self._client.publish(
                    f"$JS.API.DIRECT.GET.{stream}", msgspec.json.encode(query), reply=f"{self._inbox}.{token}"
                )
                await collector.done
        except (TimeoutError, *AWAY) as error:
            raise Unavailable(f"{subject} after {seq}: no answer from {stream}") from error
        finally:
            del self._collectors[token]
        return collector.messages, collector.pending

    async def upto(self, stream: str, subject: str, seq: int, end: int, limit: int) -> list[Stored] | None:
        """All messages of a subject in ``(seq, end]``, where the leader is known to hold one at ``end``.

        None when there are more than ``limit``. Asks again while a replica lags, then gives up with Unavailable.

        That ``end`` is gone is believed only to who holds everything up to there, and only when told twice: a leader
        that was paused, or is cut off, answers as if nothing had come after what it has.
        """
        found: list[Stored] = []
        position = seq
        gone = 0
        for attempt in itertools.count():
            if position >= end:
                return found
            messages, _ = await self.after(stream, subject, position, min(_PAGE, limit + 1))
            fresh = [message for message in messages if message.seq <= end]
            found.extend(fresh)
            if len(found) > limit:
                return None
            if messages:
                position = messages[-1].seq
                gone = 0
                continue
            held = (await self.state(stream)).last >= end
            gone = gone + 1 if held and await self.at(stream, end) is None else 0
            if gone == 2:
                return found
            if attempt >= 20:
                raise Unavailable(f"{subject} up to {end}: replicas lag behind at {position}")
            await asyncio.sleep(0.05)
        raise AssertionError("unreachable")

    async def whole(
        self, stream: str, subject: str, seq: int, end: int, limit: int, *, checked: int | None = None
    ) -> list[Stored] | None:
        """:meth:`upto`, where the leader holds nothing more between any two of them: one question for each pair, of the
        last ``checked`` where that is given."""
        found = await self.upto(stream, subject, seq, end, limit)
        if found is None:
            return None
        edges = [seq, *(message.seq for message in found)]
        if edges[-1] < end:
            edges.append(end + 1)
        spans = [span for span in itertools.pairwise(edges) if span[1] - span[0] > 1]
        missed = await self._missed(stream, subject, spans[0 if checked is None else max(0, len(spans) - checked) :])
        if not missed:
            return found
        log.warning(
            "%s: a replica lacks %d messages of %s between %d and %d that the leader holds: was its disk damaged?",
            *(stream, len(missed), subject, seq, end),
        )
        together = sorted((*found, *missed), key=lambda message: message.seq)
        return together if len(together) <= limit else None

    async def _missed(self, stream: str, subject: str, spans: Sequence[tuple[int, int]]) -> list[Stored]:
        questions = [asyncio.ensure_future(self._between(stream, subject, *span)) for span in spans]
        try:
            return [message for messages in await asyncio.gather(*questions) for message in messages]
        finally:
            # Where one fails nobody waits for the others.
            for question in questions:
                question.cancel()
            await asyncio.gather(*questions, return_exceptions=True)

    async def _between(self, stream: str, subject: str, low: int, high: int) -> list[Stored]:
        """What the leader holds of a subject between two sequences, both left out."""
        found: list[Stored] = []
        async with self._asking:
            while low + 1 < high:
                query: dict[str, str | int] = {"seq": low + 1, "next_by_subj": subject}
                message = await self._get(stream, query, f"next of {subject} after {low}")
                if message is None or message.seq >= high:
                    break
                found.append(message)
                low = message.seq
        return found

    async def newest(self, stream: str, subject: str, end: int, limit: int) -> tuple[int, list[Stored]]:
        """The last messages of a subject up to ``end``, at most ``limit``, and the sequence after which they are all;
        where there are more, at least half of ``limit``.

        Where to begin is found by halving: a batched get tells how many messages wait behind what it gives (ADR-31).
        """
        low = (await self.state(stream)).first - 1
        start = low
        if await self._count(stream, subject, low) > limit:
            start = high = end
            while high - low > 1:
                middle = (low + high) // 2
                count = await self._count(stream, subject, middle)
                if count > limit:
                    low = middle
                else:
                    start = high = middle
                    if count >= limit // 2:
                        break
        found = await self.upto(stream, subject, start, end, 2 * limit) if end > start else []
        if found is None:
            raise Unavailable(f"{subject} moves faster than its end can be read")
        return start, found

    async def _count(self, stream: str, subject: str, seq: int) -> int:
        """Messages of a subject beyond ``seq``, as some replica has it."""
        messages, pending = await self.after(stream, subject, seq, 1)
        return len(messages) + pending

    async def _collect(self, message: Msg) -> None:
        collector = self._collectors.get(message.subject.rpartition(".")[2])
        if collector is None or collector.done.done():
            return
        headers = message.headers or {}
        status = headers.get("Status")
        if status == "204":
            collector.pending = int(headers.get("Nats-Num-Pending", "0"))
            collector.done.set_result(None)
        elif status == "404":
            collector.done.set_result(None)
        elif status is not None:
            collector.done.set_exception(
                Unavailable(
                    f"direct get: status {status}, {headers.get('Description') or 'nobody answers for this stream'}"
                )
            )
        else:
            collector.messages.append(
                Stored(
                    headers["Nats-Subject"],
                    int(headers["Nats-Sequence"]),
                    _milliseconds(headers["Nats-Time-Stamp"]),
                    headers,
                    message.data,
                )
            )

    async def _ask(self, subject: str, payload: bytes, what: str) -> bytes:
        """Asked again while connected: nobody answers for a stream while its next leader is being elected."""
        deadline = asyncio.get_running_loop().time() + _DEADLINE_S
        while True:
            remaining = deadline - asyncio.get_running_loop().time()
            try:
                answer = await self._client.request(subject, payload, timeout=min(_ATTEMPT_S, max(0.1, remaining)))
            except AWAY as error:
                if remaining <= _ATTEMPT_S or not self._client.is_connected:
                    raise Unavailable(f"{what}: NATS does not answer ({type(error).__name__})") from error
                await asyncio.sleep(_PAUSE_S)
            else:
                return answer.data
