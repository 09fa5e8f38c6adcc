"""Pages and files that are generated: the definition, the documentation of its fields, the plots of scaling.

``python -m chatoperator.reference`` writes them into the checkout; a test fails while one of them differs.
"""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec

from chatoperator.crd import RULES, as_yaml, definition, spec_schema
from chatoperator.objects import Json, Object, at, items, mapping, text
from chatoperator.simulate.command import cluster_of
from chatoperator.simulate.plot import plot
from chatoperator.simulate.trace import read_trace
from chatoperator.simulate.world import World

ROOT: Final = Path(__file__).resolve().parents[2]

_TRACES: Final = "docs/operator/traces"
_HEAD: Final = """\
# Fields of a ChatCluster

Generated from `chatoperator.spec` (`make docs`). [`manifests/examples/full.yaml`](../../manifests/examples/full.yaml)
shows them all at work. A field without a default has to be given, where its part is given.

| Field under `spec` | Holds | Default | Meaning |
|---|---|---|---|
"""


def pages() -> Mapping[str, str]:
    """What each generated file holds, by its path in the checkout."""
    generated = as_yaml(definition())
    return {
        "chart/files/crd.yaml": generated,
        "manifests/crd.yaml": generated,
        "docs/operator/fields.md": fields_page(),
    }


def fields_page() -> str:
    rows = "\n".join(_rows(spec_schema()))
    rules = "\n".join(f"- {text(rule, 'message')}" for part in RULES.values() for rule in part)
    head = "## Rules over several fields\n\nThe API server refuses what breaks one of these."
    return f"{_HEAD}{rows}\n\n{head}\n\n{rules}\n"


def _rows(schema: Object, path: str = "") -> Iterator[str]:
    for name, inner in mapping(schema, "properties").items():
        place = f"{path}{name}"
        yield f"| `{place}` | {_kind(inner)} | {_default(inner)} | {text(inner, 'description')} |"
        if mapping(inner, "properties"):
            yield from _rows(mapping(inner), f"{place}.")


def _kind(schema: Json) -> str:
    choices = items(schema, "enum")
    if choices:
        return ", ".join(f"`{choice}`" for choice in choices)
    kind = text(schema, "type")
    low, high = at(schema, "minimum"), at(schema, "maximum")
    if kind == "integer" and low is not None:
        return f"{low} to {high:,}" if isinstance(high, int) else f"{low} or more"
    if mapping(schema, "properties"):
        return "part"
    return {"integer": "whole number", "array": "list", "object": "map", "string": "text"}.get(kind, kind)


def _default(schema: Json) -> str:
    default = at(schema, "default")
    if default is None or mapping(schema, "properties"):
        return ""
    if default in ("", [], {}):
        return "empty"
    return f"`{default if isinstance(default, str) else msgspec.json.encode(default).decode()}`"


def plots() -> Mapping[str, str]:
    """The pictures of the two simulations in ``docs/operator/scaling.md``; takes seconds."""
    cluster = cluster_of(ROOT / _TRACES / "cluster.yaml")
    drawn = {}
    for name, title in (("day", "A day at a training centre"), ("storm", "120,000 more within two minutes")):
        load = read_trace(ROOT / _TRACES / f"{name}.csv")
        world = World(cluster, load)
        world.run(int(load.duration))
        drawn[f"docs/operator/plots/{name}.svg"] = plot(title, world.seconds, world.told)
    return drawn


def main() -> int:
    for path, content in {**pages(), **plots()}.items():
        (ROOT / path).write_text(content, "utf-8")
        sys.stdout.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
