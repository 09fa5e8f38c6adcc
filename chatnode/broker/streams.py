"""The streams: how each is configured (pure), and bringing NATS there.

Requests go to JetStream's API as JSON (``$JS.API.STREAM.*``). What is not configured here is left as it is.
"""

import logging
from datetime import datetime
from typing import Final

import msgspec
from msgspec import Struct
from nats.aio.client import Client

from chatnode.broker.connection import AWAY
from chatnode.broker.epochs import EPOCH_KEY
from chatnode.broker.subjects import (
    CONTROL_STREAM,
    CONTROL_SUBJECTS,
    live_control_subject,
    stream_name,
    stream_subjects,
)
from chatnode.rooms.ports import StreamConflict, Unavailable

log = logging.getLogger(__name__)

MESSAGE_BYTES: Final = 96 * 1024
"""Largest stored message: a frame of 64 KiB, its envelope and headers."""
DUPLICATE_WINDOW_NS: Final = 120 * 10**9
_DEADLINE_S: Final = 10.0
_NOT_FOUND: Final = 404
_IN_USE: Final = 10058
_CLOSED: Final = "closed."
_ATTEMPTS: Final = 3


class RePublish(Struct, frozen=True):
    src: str
    dest: str


class StreamConfig(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is asked of a stream, in the names of JetStream's API."""

    name: str
    subjects: tuple[str, ...]
    num_replicas: int
    max_bytes: int
    duplicate_window: int
    """Nanoseconds."""
    republish: RePublish
    storage: str
    retention: str
    discard: str
    max_msg_size: int = -1
    allow_direct: bool = False
    allow_atomic: bool = False
    first_seq: int = 0
    """Only for creating it; 0: from 1."""
    metadata: dict[str, str] = {}


_FIXED: Final = ("storage", "retention")
"""Fields that the server does not change, or only at the price of data."""
_COMPARED: Final = (
    "subjects",
    "num_replicas",
    "max_bytes",
    "duplicate_window",
    "republish",
    "discard",
    "max_msg_size",
    "allow_direct",
    "allow_atomic",
)


class StreamState(Struct, frozen=True):
    first_seq: int
    last_seq: int
    messages: int = 0
    bytes: int = 0


class StreamFound(Struct, frozen=True):
    """A stream as the leader tells it."""

    config: dict[str, msgspec.Raw]
    state: StreamState

    @property
    def metadata(self) -> dict[str, str]:
        raw = self.config.get("metadata")
        return {} if raw is None else msgspec.json.decode(raw, type=dict[str, str])

    @property
    def epoch(self) -> int:
        """0 where the metadata names none."""
        return epoch_in(self.metadata)

    @property
    def max_bytes(self) -> int:
        return msgspec.json.decode(self.config["max_bytes"], type=int)

    @property
    def replicas(self) -> int:
        return msgspec.json.decode(self.config.get("num_replicas", msgspec.Raw(b"1")), type=int)

    @property
    def subjects(self) -> tuple[str, ...]:
        return msgspec.json.decode(self.config["subjects"], type=tuple[str, ...])


class _Error(Struct):
    code: int = 0
    err_code: int = 0
    description: str = ""


class _Answer(Struct):
    error: _Error | None = None
    config: dict[str, msgspec.Raw] | None = None
    state: StreamState | None = None


def epoch_in(metadata: dict[str, str]) -> int:
    text = metadata.get(EPOCH_KEY, "")
    return int(text) if text.isdigit() else 0


def chat_stream(partition: int, *, epoch: int, first_seq: int, replicas: int, max_bytes: int) -> StreamConfig:
    """One partition of all rooms. Full means refused, never dropped; only the retention worker takes anything away."""
    subjects = stream_subjects(partition)
    return StreamConfig(
        name=stream_name(partition),
        subjects=(subjects,),
        num_replicas=replicas,
        max_bytes=max_bytes,
        duplicate_window=DUPLICATE_WINDOW_NS,
        storage="file",
        retention="limits",
        discard="new",
        republish=RePublish(subjects, f"live.{partition}.room.{{{{wildcard(1)}}}}"),
        max_msg_size=MESSAGE_BYTES,
        allow_direct=True,
        allow_atomic=True,
        first_seq=first_seq,
        metadata={EPOCH_KEY: str(epoch)},
    )


def control_stream(*, epoch: int, first_seq: int, replicas: int, max_bytes: int) -> StreamConfig:
    return StreamConfig(
        name=CONTROL_STREAM,
        subjects=(CONTROL_SUBJECTS,),
        num_replicas=replicas,
        max_bytes=max_bytes,
        duplicate_window=DUPLICATE_WINDOW_NS,
        storage="file",
        retention="limits",
        discard="new",
        republish=RePublish(CONTROL_SUBJECTS, live_control_subject(CONTROL_SUBJECTS)),
        max_msg_size=1024 * 1024,
        allow_direct=True,
        first_seq=first_seq,
        metadata={EPOCH_KEY: str(epoch)},
    )


def closed_subjects(config: StreamConfig) -> tuple[str, ...]:
    """Where nobody publishes: what a stream listens to while it takes nothing in."""
    return tuple(_CLOSED + subject for subject in config.subjects)


def is_closed(found: StreamFound) -> bool:
    return all(subject.startswith(_CLOSED) for subject in found.subjects)


def differences(wanted: StreamConfig, found: StreamFound) -> dict[str, msgspec.Raw]:
    """The fields of ``found`` that have to change, with their new values; :class:`StreamConflict` where they cannot.

    The epoch only grows: a worker that was paused comes back with an old one.
    """
    plain = msgspec.json.decode(msgspec.json.encode(wanted), type=dict[str, object])
    held = {name: msgspec.json.decode(raw) for name, raw in found.config.items()}
    fixed = [f"{name} is {held.get(name)!r}, not {plain[name]!r}" for name in _FIXED if held.get(name) != plain[name]]
    if fixed:
        raise StreamConflict(
            f"stream {wanted.name}: {', '.join(fixed)}; that cannot be changed: back it up and delete the stream, "
            "a worker creates it anew above the history"
        )
    changed: dict[str, msgspec.Raw] = {
        name: msgspec.Raw(msgspec.json.encode(plain[name]))
        for name in _COMPARED
        if name in plain and held.get(name) != plain[name]
    }
    metadata = {**found.metadata, EPOCH_KEY: str(max(found.epoch, epoch_in(wanted.metadata)))}
    if metadata != found.metadata:
        changed["metadata"] = msgspec.Raw(msgspec.json.encode(metadata))
    return changed


class Streams:
    """Creates, updates and purges streams."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def find(self, name: str) -> StreamFound | None:
        answer = await self._ask(f"STREAM.INFO.{name}", b"")
        if answer.error is not None:
            if answer.error.code == _NOT_FOUND:
                return None
            raise _refused(f"state of {name}", answer.error)
        return _found(f"state of {name}", answer)

    async def ensure(self, wanted: StreamConfig) -> StreamFound:
        """Create it, or change what differs. The stream as it is then."""
        for _ in range(_ATTEMPTS):
            found = await self.find(wanted.name)
            if found is not None:
                return await self.change(found, differences(wanted, found))
            created = await self._ask(f"STREAM.CREATE.{wanted.name}", msgspec.json.encode(wanted))
            if created.error is None:
                log.info("stream %s created from sequence %d", wanted.name, max(1, wanted.first_seq))
                return _found(wanted.name, created)
            if created.error.err_code != _IN_USE:
                raise _refused(f"creating {wanted.name}", created.error)
        raise Unavailable(f"creating {wanted.name}: another worker changes it all the time")

    async def change(self, found: StreamFound, fields: dict[str, msgspec.Raw]) -> StreamFound:
        """Update these fields of its configuration; nothing is asked where there are none."""
        if not fields:
            return found
        name = msgspec.json.decode(found.config["name"], type=str)
        log.info("stream %s: changing %s", name, ", ".join(sorted(fields)))
        answer = await self._ask(f"STREAM.UPDATE.{name}", msgspec.json.encode({**found.config, **fields}))
        if answer.error is not None:
            raise _refused(f"changing {name}", answer.error)
        return _found(name, answer)

    async def close(self, wanted: StreamConfig) -> StreamFound | None:
        """Take nothing in any more: publishers get no answer, and try again."""
        found = await self.find(wanted.name)
        if found is None:
            return None
        subjects = msgspec.Raw(msgspec.json.encode(closed_subjects(wanted)))
        return await self.change(found, {"subjects": subjects})

    async def purge_below(self, name: str, seq: int, *, subject: str | None = None) -> int:
        """Drop everything (of ``subject``) below ``seq``; how many messages that were. Above the stream's end it
        empties it, and the next message gets ``seq``."""
        request: dict[str, str | int] = {"seq": seq}
        if subject is not None:
            request["filter"] = subject
        answer = await self._request(f"STREAM.PURGE.{name}", msgspec.json.encode(request))
        purged = msgspec.json.decode(answer, type=_Purged)
        if purged.error is not None:
            raise _refused(f"purging {name}", purged.error)
        return purged.purged

    async def first_since(self, name: str, moment: datetime) -> int | None:
        """Sequence of the first message that was stored at ``moment`` or later."""
        query = {"start_time": moment.isoformat(), "next_by_subj": ">"}
        answer = await self._request(f"STREAM.MSG.GET.{name}", msgspec.json.encode(query))
        got = msgspec.json.decode(answer, type=_Got)
        if got.error is not None and got.error.code != _NOT_FOUND:
            raise _refused(f"first message of {name} since {moment:%Y-%m-%d %H:%M:%S}", got.error)
        return got.message.seq if got.message is not None else None

    async def _ask(self, operation: str, payload: bytes) -> _Answer:
        return msgspec.json.decode(await self._request(operation, payload), type=_Answer)

    async def _request(self, operation: str, payload: bytes) -> bytes:
        try:
            answer = await self._client.request(f"$JS.API.{operation}", payload, timeout=_DEADLINE_S)
        except AWAY as error:
            raise Unavailable(f"{operation}: NATS does not answer ({type(error).__name__})") from error
        return answer.data


class _GotMessage(Struct):
    seq: int


class _Got(Struct):
    message: _GotMessage | None = None
    error: _Error | None = None


class _Purged(Struct):
    purged: int = 0
    error: _Error | None = None


def _found(what: str, answer: _Answer) -> StreamFound:
    if answer.config is None or answer.state is None:
        raise Unavailable(f"{what}: an answer without configuration or state")
    return StreamFound(answer.config, answer.state)


def _refused(what: str, error: _Error) -> Unavailable | StreamConflict:
    words = f"{what}: {error.description} ({error.err_code})"
    return Unavailable(words) if error.code == 503 else StreamConflict(words)
