"""A load over time, as a file tells it."""

import csv
import io
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import msgspec
from msgspec import Struct


class TraceError(ValueError):
    """A file that tells no load: where, and what is allowed."""


class Point(Struct, frozen=True):
    seconds: float
    connections: float


class Trace(Struct, frozen=True):
    """Points in the order of their time; between them the load is a straight line."""

    points: tuple[Point, ...]

    @property
    def duration(self) -> float:
        return self.points[-1].seconds

    def at(self, seconds: float) -> int:
        index = bisect_right(self.points, seconds, key=lambda point: point.seconds)
        if index == 0:
            return round(self.points[0].connections)
        before = self.points[index - 1]
        if index == len(self.points):
            return round(before.connections)
        after = self.points[index]
        part = (seconds - before.seconds) / (after.seconds - before.seconds)
        return round(before.connections + part * (after.connections - before.connections))


def trace(points: Sequence[Point]) -> Trace:
    """Raises :class:`TraceError`."""
    if not points:
        raise TraceError("the trace has no points: give lines of seconds,connections")
    if points[0].seconds < 0 or any(after.seconds <= before.seconds for before, after in pairwise(points)):
        raise TraceError("the seconds of a trace begin at 0 or later and only grow")
    if any(not 0 <= point.connections < 1e9 for point in points):
        raise TraceError("connections are between 0 and 1,000,000,000")
    return Trace(tuple(points))


def read_trace(path: Path) -> Trace:
    """``seconds,connections`` in lines of CSV, or JSON: a list of pairs or of objects with these two names.

    Raises :class:`TraceError`, and :class:`OSError` for a file that cannot be read.
    """
    content = path.read_text("utf-8")
    return trace(_from_json(content) if path.suffix == ".json" else _from_csv(content))


def _from_json(content: str) -> list[Point]:
    try:
        found = msgspec.json.decode(content, type=list[Point | tuple[float, float]])
    except msgspec.DecodeError as error:
        raise TraceError(f"not a list of [seconds, connections] or of objects with both: {error}") from error
    return [each if isinstance(each, Point) else Point(*each) for each in found]


def _from_csv(content: str) -> list[Point]:
    points: list[Point] = []
    for number, row in enumerate(csv.reader(io.StringIO(content)), 1):
        if not row or row[0].lstrip().startswith("#") or (number == 1 and row[0].strip() == "seconds"):
            continue
        try:
            seconds, connections = row
            points.append(Point(float(seconds), float(connections)))
        except ValueError as error:
            raise TraceError(f"line {number}: {','.join(row)!r} is not seconds,connections") from error
    return points
