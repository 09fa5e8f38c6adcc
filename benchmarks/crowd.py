"""Steers the crowd of clients, which is a process of its own (``load/``)."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

import msgspec
from msgspec import Struct

_ANSWER_S: Final = 300.0
_LINE_BYTES: Final = 16 * 1024 * 1024


class CrowdError(Exception):
    """The clients could not do what was asked; says what the first of them met."""


class Signer(Struct, frozen=True):
    """Signs the tokens of the crowd's users (HS256)."""

    secret: str
    issuer: str
    audience: str


class Opening(Struct, frozen=True, kw_only=True):
    """Sockets to open: socket i is user i, goes to the (i mod n)-th target, and follows the (i mod m)-th room."""

    targets: Sequence[str]
    dialect: str
    count: int
    signer: Signer
    user: str
    users: int = 0
    rooms: Sequence[str] = ()
    sources: Sequence[str] = ("127.0.0.1",)
    at_once: int = 32
    pulse_s: float = 0.0


class Opened(Struct, frozen=True):
    opened: int
    seconds: float
    p50_ms: float
    p99_ms: float


class Traffic(Struct, frozen=True, kw_only=True):
    """``rate`` messages a second of all senders, or ``window`` of each under way, freed ``by`` echo or ack."""

    senders: int
    bytes: int = 100
    rate: float = 0.0
    window: int = 0
    by: str = ""


class Counted(Struct, frozen=True):
    sent: int
    acked: int
    delivered: int
    refused: int
    failed: int
    problem: str
    p50_ms: float
    p99_ms: float
    ack_p50_ms: float
    ack_p99_ms: float


class Marked(Struct, frozen=True):
    """What happened since the mark before; ``cpu_s`` is the crowd's own."""

    seconds: float
    cpu_s: float
    groups: Mapping[str, Counted]


class _Failure(Struct, frozen=True):
    error: str = ""


_Answer = TypeVar("_Answer", bound=Struct)


class Crowd:
    """``async with Crowd(program) as crowd:``; one question at a time."""

    def __init__(self, program: Path) -> None:
        self._program = program
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            self._program, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=_LINE_BYTES
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        process = self._process
        if process is None:
            return
        if process.returncode is None:
            process.kill()
        await process.wait()

    async def open(self, group: str, opening: Opening) -> Opened:
        return await self._ask({"do": "open", "group": group, "open": opening}, Opened)

    async def begin(self, group: str, traffic: Traffic) -> None:
        await self._ask({"do": "begin", "group": group, "traffic": traffic}, _Failure)

    async def mark(self) -> Marked:
        return await self._ask({"do": "mark"}, Marked)

    async def quiet(self, group: str) -> None:
        await self._ask({"do": "quiet", "group": group}, _Failure)

    async def close(self, group: str) -> None:
        await self._ask({"do": "close", "group": group}, _Failure)

    async def _ask(self, question: Mapping[str, object], answer: type[_Answer]) -> _Answer:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(msgspec.json.encode(question) + b"\n")
        async with asyncio.timeout(_ANSWER_S):
            line = await process.stdout.readline()
        failure = msgspec.json.decode(line or b'{"error": "the crowd has ended"}', type=_Failure)
        if failure.error:
            raise CrowdError(f"{question['do']}: {failure.error}")
        return msgspec.json.decode(line, type=answer)
