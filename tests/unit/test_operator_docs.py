"""The operator's pages name every condition, every reason and every Event that there is."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from chatoperator import events
from chatoperator.drain.batch import Batch
from chatoperator.plan import exposure, status

PAGES = Path(__file__).parents[2] / "docs" / "operator"
CONDITIONS = (PAGES / "conditions.md").read_text("utf-8")
QUIET = {"AsWanted", "Running", "Serving", "Settled", "Nothing", "Within", "AllAnswer", "Accepted", "Annotation"}
"""Reasons of conditions that are as they should be, or that say no more than their status."""
QUIET |= {"Ready", "NotServing"}


def constants(path: str) -> Iterator[str]:
    """Texts in a module that look like reasons: one word in capitals."""
    for node in ast.walk(ast.parse(Path(path).read_text("utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(r"[A-Z]\w+", node.value):
            yield node.value


REASONS = sorted({*constants(status.__file__), *constants(exposure.__file__)} - QUIET - {"Available"})
NOT_REASONS = {"True", "False", "Unknown", "NATS", "MongoDB", "Operator", "None", "Applied"}
NOT_REASONS |= {"Gateway", "HTTPRoute", "Service", "Ingress", "BackendTrafficPolicy", "PathPrefix", "Prefix", "Cookie"}
NOT_REASONS |= {"Session", "ConsistentHash", "Lax"}


@pytest.mark.parametrize("reason", [reason for reason in REASONS if reason not in NOT_REASONS])
def test_every_reason_is_explained(reason: str) -> None:
    assert f"`{reason}`" in CONDITIONS


@pytest.mark.parametrize("phase", get_args(Batch.__annotations__["phase"]))
def test_every_step_of_a_drain_is_named(phase: str) -> None:
    assert f"`{phase}`" in CONDITIONS


def test_every_event_is_explained() -> None:
    told = {f"{kind}{turned}" for kind in events._TOLD for turned in ("True", "False")}
    told |= set(re.findall(r'News\(\s*"(\w+)"', Path(events.__file__).read_text("utf-8"))) | {"Applied"}
    assert {reason for reason in told if f"`{reason}`" not in CONDITIONS} == set()
