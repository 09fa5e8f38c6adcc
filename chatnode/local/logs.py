"""What children print: kept whole in bounded files, and shown where it matters in words for people."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from chatnode.local.supervision import Role

FILE_BYTES: Final = 8 * 1024**2


class LogFile:
    """Appends lines to a file; when it is full it becomes ``<name>.1``, in the place of an older one.

    A disk that does not take the lines is told once to ``complain``, not for each line, and stops nothing.
    """

    def __init__(self, path: Path, *, complain: Callable[[str], None], limit: int = FILE_BYTES) -> None:
        self._path = path
        self._limit = limit
        self._complain = complain
        self._complained = False
        self._file = path.open("ab", buffering=0)
        self._size = path.stat().st_size

    def write(self, line: str) -> None:
        data = line.encode("utf-8", "replace") + b"\n"
        try:
            if self._size + len(data) > self._limit:
                self._turn_over()
            self._file.write(data)
        except OSError as error:
            if not self._complained:
                self._complain(f"cannot write {self._path}: {error.strerror}")
                self._complained = True
            return
        self._size += len(data)
        self._complained = False

    def close(self) -> None:
        self._file.close()

    def _turn_over(self) -> None:
        self._path.replace(self._path.with_name(f"{self._path.name}.1"))
        self._file.close()
        self._file = self._path.open("ab", buffering=0)
        self._size = 0


_NATS: Final = re.compile(r"^\[\d+\] [\d/]+ [\d:.]+ \[(WRN|ERR|FTL)\] (.*)")
_ENVOY: Final = re.compile(r"^\[[^\]]*\]\[\d+\]\[(error|critical)\]\[[^\]]*\] (?:\[[^\]]*\] )?(.*)")


class _MongodLine(msgspec.Struct):
    s: str
    msg: str
    attr: dict[str, object] = {}


def mongod_error(line: str) -> str | None:
    """The words of an error in mongod's structured log; None for anything else."""
    try:
        entry = msgspec.json.decode(line, type=_MongodLine)
    except msgspec.DecodeError:
        return None
    if entry.s not in {"E", "F"}:
        return None
    detail = entry.attr.get("error") or entry.attr.get("message") or ""
    return " ".join(f"{entry.msg} {detail}".split())[:500]


def worth_showing(role: Role, line: str) -> str | None:
    """What of a child's line people should see, in words; None for what is only worth keeping."""
    match role:
        case "nats":
            found = _NATS.match(line)
            return f"{_LEVELS[found[1]]} {found[2]}" if found else None
        case "mongod":
            words = mongod_error(line)
            return f"error: {words}" if words else None
        case "front door":
            found = _ENVOY.match(line)
            return f"{found[1]}: {found[2]}" if found else None
        case "node" | "worker":
            return _of_ours(line)


_LEVELS: Final = {"WRN": "warning:", "ERR": "error:", "FTL": "error:"}
_TRACEBACK: Final = (" ", "Traceback (most recent call last)")
_HIDDEN: Final = frozenset({"time", "level", "logger", "message", "node", "trace", "session", "error"})


def _of_ours(line: str) -> str | None:
    """A structured line as ``words key=value``, with an exception's last line; of a bare traceback that too."""
    try:
        entry = msgspec.json.decode(line, type=dict[str, object])
    except msgspec.DecodeError:
        return None if line.startswith(_TRACEBACK) else line.rstrip()[:2000] or None
    level = str(entry.get("level", "info"))
    if level == "debug" or (level == "info" and str(entry.get("logger", "")).startswith("uvicorn")):
        return None
    pairs = [f"{key}={_short(value)}" for key, value in entry.items() if key not in _HIDDEN]
    exception = str(entry.get("error", "")).strip().rpartition("\n")[2]
    parts = ["" if level == "info" else f"{level}:", str(entry.get("message", "")), *pairs]
    return " ".join(part for part in [*parts, f"({exception})" if exception else ""] if part)[:2000]


def _short(value: object) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return repr(text) if " " in text else text
