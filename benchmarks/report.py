"""The figures as JSON and as a table."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

Results = dict[str, dict[str, float]]
"""Figure → contender → value."""

CONTENDERS: Final = ("project", "socketio", "starlette", "floor", "nats_bench")


def add(results: Results, contender: str, figures: Mapping[str, float]) -> None:
    for figure, value in figures.items():
        results.setdefault(figure, {})[contender] = round(value, 3)


def write(results: Results, about: Mapping[str, str], path: Path) -> None:
    """``{figure: {contender: value}}``; beside it what it was measured on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=2) + "\n", "utf-8")
    path.with_suffix(".about.json").write_text(json.dumps(dict(about), indent=2) + "\n", "utf-8")


def table(results: Results) -> str:
    columns = [name for name in CONTENDERS if any(name in values for values in results.values())]
    width = max(map(len, results), default=0)
    lines = [" ".join([f"{'':{width}}", *(f"{name:>12}" for name in columns)])]
    for figure, values in results.items():
        cells = [f"{values[name]:>12,.3f}" if name in values else f"{'-':>12}" for name in columns]
        lines.append(" ".join([f"{figure:{width}}", *cells]))
    return "\n".join(lines)
