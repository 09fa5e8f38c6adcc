"""Structured logs over the standard library: one line per record, the same fields everywhere, never a message's body.

Pass context with ``extra=about(user=…, room=…)``. :func:`configure` is called once, at the edge of a process.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Final, Literal, TextIO, TypedDict, Unpack

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["json", "text"]

_KEY: Final = "chat"
_CONTROL: Final = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))} | {
    ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\\t", 0x2028: "\\u2028", 0x2029: "\\u2029",
}  # fmt: skip


class Context(TypedDict, total=False):
    """All fields that a record may carry. What people wrote is none of them."""

    user: str
    room: str
    command: str
    """The command's id."""
    trace: str
    """Trace id, 32 hex digits."""
    session: str
    peer: str
    partition: int
    seq: int
    epoch: int
    code: str
    """Error or close code."""
    operation: str
    count: int
    bytes: int
    seconds: float


def about(**context: Unpack[Context]) -> dict[str, object]:
    """``extra`` of a log call."""
    return {_KEY: context}


def configure(level: Level, form: Format, stream: TextIO = sys.stderr, *, node: str = "") -> None:
    """Send everything that is logged in this process to ``stream``; replaces what was set up before.

    Run uvicorn with ``log_config=None``, so that its records come here too.
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines(node) if form == "json" else TextLines(node))
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())


def _context(record: logging.LogRecord) -> dict[str, object]:
    context = getattr(record, _KEY, None)
    return context if isinstance(context, dict) else {}


def _time(record: logging.LogRecord) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"


class JsonLines(logging.Formatter):
    def __init__(self, node: str = "") -> None:
        super().__init__()
        self._node = node

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if self._node:
            line["node"] = self._node
        line |= _context(record)
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class TextLines(logging.Formatter):
    """For people. Control characters are escaped, so that no value can forge a line or speak to a terminal."""

    def __init__(self, node: str = "") -> None:
        super().__init__()
        self._node = f"{node} " if node else ""

    def format(self, record: logging.LogRecord) -> str:
        context = "".join(f" {name}={value}" for name, value in _context(record).items())
        line = f"{_time(record)} {record.levelname:<7} {self._node}{record.name}: {record.getMessage()}{context}"
        line = line.translate(_CONTROL)
        if record.exc_info:
            trace = self.formatException(record.exc_info).split("\n")
            line = "\n    ".join([line, *(part.translate(_CONTROL) for part in trace)])
        return line
