"""One rule taken out for a while."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

Patch = tuple[Any, str, Any]
"""Of which class or module, which name, what instead."""


@dataclass(frozen=True)
class Mutation:
    name: str
    rule: str
    """Which section of ARCHITECTURE, and in words."""
    patches: Callable[[], Sequence[Patch]]


@contextlib.contextmanager
def applied(mutation: Mutation) -> Iterator[None]:
    before = [(owner, name, owner.__dict__[name]) for owner, name, _ in mutation.patches()]
    for owner, name, value in mutation.patches():
        setattr(owner, name, value)
    try:
        yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)
