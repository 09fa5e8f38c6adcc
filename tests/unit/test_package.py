"""The Python package: whoever installs it has what its programs import, and its programs are on the PATH."""

import ast
import importlib.metadata as installed
import importlib.util
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
OWN = {"chatclient", "chatnode", "chatoperator"}
SCRIPTS: dict[str, str] = PROJECT["project"]["scripts"]


def declared() -> list[Requirement]:
    files = PROJECT["tool"]["setuptools"]["dynamic"]["dependencies"]["file"]
    lines = [line for file in files for line in (ROOT / file).read_text("utf-8").splitlines()]
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def brought_along(wanted: list[Requirement]) -> set[str]:
    """All distributions that come with these, by their canonical names."""
    found: set[tuple[str, frozenset[str]]] = set()
    left = [(canonicalize_name(each.name), frozenset(each.extras)) for each in wanted]
    while left:
        name, extras = left.pop()
        if (name, extras) in found:
            continue
        found.add((name, extras))
        for line in installed.requires(name) or ():
            need = Requirement(line)
            if need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in (*extras, "")):
                left.append((canonicalize_name(need.name), frozenset(need.extras)))
    return {name for name, _ in found}


def imported() -> Iterator[tuple[str, str]]:
    """Third-party modules that the package's files import, each with the file."""
    for folder in (ROOT / "chatnode", ROOT / "chatclient", ROOT / "operator" / "chatoperator"):
        for path in sorted(folder.rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
                for name in {name.partition(".")[0] for name in names}:
                    if name and name not in OWN and name not in sys.stdlib_module_names:
                        yield name, str(path.relative_to(ROOT))


def test_everything_that_is_imported_is_asked_for() -> None:
    known, here = brought_along(declared()), installed.packages_distributions()
    missing = {
        (module, file)
        for module, file in imported()
        if not known & {canonicalize_name(name) for name in here.get(module, ())}
    }
    assert missing == set()


@pytest.mark.parametrize("script", sorted(SCRIPTS))
def test_every_program_is_there(script: str) -> None:
    module, _, name = SCRIPTS[script].partition(":")
    assert importlib.util.find_spec(module) is not None
    assert callable(getattr(importlib.import_module(module), name))


def test_kubectl_finds_its_plugin() -> None:
    assert SCRIPTS["kubectl-chat"] == "chatoperator.plugin:main"
