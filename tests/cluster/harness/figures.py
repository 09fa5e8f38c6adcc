"""What the cluster tests measured, kept over their sessions: each adds what it has found to one file."""

import fcntl
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from chatoperator.objects import Json

_PARTS: Final = "parts"
_WHEN: Final = "measured"


class Figures:
    """Written to ``path`` as they come in; what another session has written there stays."""

    def __init__(self, path: Path, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._path = path
        self._now = now

    def set(self, name: str, value: Json) -> None:
        self._change(name, lambda _: value)

    def part(self, name: str, what: str, value: float) -> None:
        """A figure of several: ``what`` is replaced, the others stay."""
        self._change(name, lambda values: {**_mapping(values.get(name)), what: value})

    def recovered(self, what: str, seconds: float) -> None:
        self.part("recovery_s", what, round(seconds, 2))

    def total(self, name: str, what: str, value: float) -> None:
        """A figure that is the sum of what several tests found; each counts as of its last run."""
        self._of_parts(name, what, value, sum)

    def worst(self, name: str, what: str, value: float) -> None:
        """The highest that any of several tests found; each counts as of its last run."""
        self._of_parts(name, what, value, max)

    def _of_parts(self, name: str, what: str, value: float, together: Callable[[list[float]], float]) -> None:
        def with_it(values: Mapping[str, Json]) -> Mapping[str, Json]:
            parts = {**_mapping(_mapping(values.get(_PARTS)).get(name)), what: value}
            whole = together([float(str(each)) for each in parts.values()])
            number = int(whole) if isinstance(value, int) else whole
            return {**values, name: number, _PARTS: {**_mapping(values.get(_PARTS)), name: parts}}

        self._write(name, with_it)

    def _change(self, name: str, changed: Callable[[Mapping[str, Json]], Json]) -> None:
        self._write(name, lambda values: {**values, name: changed(values)})

    def values(self) -> Mapping[str, Json]:
        return _mapping(msgspec.json.decode(self._path.read_bytes())) if self._path.exists() else {}

    def _write(self, name: str, changed: Callable[[Mapping[str, Json]], Mapping[str, Json]]) -> None:
        """One process at a time: each reads what the others have written."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            values = changed(self.values())
            when = {**_mapping(values.get(_WHEN)), name: f"{self._now():%Y-%m-%dT%H:%M:%SZ}"}
            encoded = msgspec.json.encode({**values, _WHEN: when}, order="sorted")
            beside = self._path.with_suffix(".new")
            beside.write_bytes(msgspec.json.format(encoded) + b"\n")
            beside.replace(self._path)


def _mapping(value: object) -> Mapping[str, Json]:
    return value if isinstance(value, dict) else {}
