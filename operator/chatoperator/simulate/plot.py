"""A simulation as a picture: load and capacity, nodes, reconnects, and what was decided when. SVG by hand."""

import math
from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import Final

from msgspec import Struct

from chatoperator.simulate.world import Second, Told

_WIDTH: Final = 960
_LEFT: Final = 72
_RIGHT: Final = 28
_HEIGHT: Final = 190
"""Of one panel, without what is written under it."""
_GAP: Final = 46
_TOP: Final = 44
_POINTS: Final = 480
"""More are not to be told apart."""
_STYLE: Final = """
text { font: 12px system-ui, sans-serif; fill: #3b4250 }
.title { font-size: 15px; font-weight: 600; fill: #1d2330 }
.grid { stroke: #e3e6ec; stroke-width: 1 }
.line { fill: none; stroke-width: 1.8; stroke-linejoin: round }
.out { stroke: #1a7f4b } .in { stroke: #b4540a } .mark { stroke-width: 1; stroke-dasharray: 2 3; opacity: .65 }
"""


class Curve(Struct, frozen=True):
    name: str
    colour: str
    read: Callable[[Second], float]
    dashed: bool = False


class Panel(Struct, frozen=True):
    unit: str
    curves: tuple[Curve, ...]


_PANELS: Final = (
    Panel(
        "connections",
        (
            Curve("target of the ready nodes", "#8a93a6", lambda second: second.capacity, dashed=True),
            Curve("load", "#2456c7", lambda second: second.load),
        ),
    ),
    Panel(
        "nodes",
        (
            Curve("asked for", "#8a93a6", lambda second: second.replicas, dashed=True),
            Curve("ready", "#1a7f4b", lambda second: second.ready),
        ),
    ),
    Panel(
        "clients per second",
        (
            Curve("told to reconnect", "#b4540a", lambda second: second.reconnects),
            Curve("refused", "#c0223b", lambda second: second.refused),
        ),
    ),
)


def plot(title: str, seconds: Sequence[Second], told: Iterable[Told]) -> str:
    """The whole picture of what is not empty. Dotted lines: nodes were added (green), or began to drain (orange)."""
    last = max(second.at for second in seconds)
    height = _TOP + len(_PANELS) * (_HEIGHT + _GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style>",
        f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>',
        f'<text class="title" x="{_LEFT}" y="24">{escape(title)}</text>',
    ]
    marks = [each for each in told if each.what.startswith(("nodes ", "drain "))]
    for number, panel in enumerate(_PANELS):
        parts += _panel(panel, seconds, last, _TOP + number * (_HEIGHT + _GAP), marks)
    return "\n".join([*parts, "</svg>", ""])


def _panel(panel: Panel, seconds: Sequence[Second], last: int, top: int, marks: Iterable[Told]) -> Iterable[str]:
    most = nice(max(curve.read(second) for curve in panel.curves for second in seconds))
    bottom = top + _HEIGHT
    yield f'<text x="{_LEFT}" y="{top - 6}">{panel.unit}</text>'
    for part in range(5):
        y = bottom - _HEIGHT * part / 4
        yield f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{most * part / 4:,.10g}</text>'
    for at in ticks(last):
        x = _x(at, last)
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}"/>'
        yield f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{_clock(at)}</text>'
    for mark in marks:
        kind = "out" if mark.what.startswith("nodes ") else "in"
        x = _x(mark.at, last)
        yield (
            f'<line class="mark {kind}" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}">'
            f"<title>{escape(f'{_clock(mark.at)} {mark.what}: {mark.why}')}</title></line>"
        )
    legend = _WIDTH - _RIGHT
    for curve in panel.curves:
        points = " ".join(
            f"{_x(second.at, last):.1f},{bottom - _HEIGHT * curve.read(second) / most:.1f}"
            for second in thinned(seconds, curve.read)
        )
        dash = ' stroke-dasharray="6 4"' if curve.dashed else ""
        yield f'<polyline class="line" stroke="{curve.colour}"{dash} points="{points}"/>'
        yield f'<text x="{legend}" y="{top - 6}" text-anchor="end" style="fill:{curve.colour}">{curve.name}</text>'
        legend -= 9 * len(curve.name)


def _x(at: float, last: int) -> float:
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) * at / max(1, last)


def _clock(at: float) -> str:
    return f"{int(at) // 3600}:{int(at) // 60 % 60:02d}"


def nice(most: float) -> float:
    """A round number at or above it, that four parts divide well."""
    if most <= 40:
        return 4.0 * max(1, math.ceil(most / 4))
    power = 10.0 ** math.floor(math.log10(most))
    return next(step * power for step in (1.0, 1.2, 1.6, 2.0, 2.4, 3.2, 4.0, 6.0, 8.0, 10.0) if step * power >= most)


def ticks(last: int) -> Sequence[int]:
    """About eight moments at round times."""
    for step in (60, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400):
        if last / step <= 9:
            return range(0, last + 1, step)
    return range(0, last + 1, max(1, last // 8))


def thinned(seconds: Sequence[Second], read: Callable[[Second], float]) -> Sequence[Second]:
    """At most about a point per pixel, of each stretch the highest, so that peaks stay."""
    size = max(1, len(seconds) // _POINTS)
    return [max(seconds[at : at + size], key=read) for at in range(0, len(seconds), size)]
