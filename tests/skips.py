"""Which tests may be skipped in CI: what ``allowed_skips.txt`` says.

A line is ``<node id> # <reason>``, or ``<variable>: <node id> # <reason>`` for where that variable of the environment
is set. A node id without the brackets of its parameters stands for the test with all of them, a file for all its tests.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

FILE: Final = Path(__file__).with_name("allowed_skips.txt")


def entries(text: str) -> Mapping[tuple[str, str], str]:
    """Variable (or none) and node id, to the reason; a line without a reason counts for nothing."""
    found: dict[tuple[str, str], str] = {}
    for line in text.splitlines():
        what, _, reason = line.partition(" # ")
        variable, named, node = what.partition(": ")
        if what.strip() and not line.startswith("#") and reason.strip():
            found[(variable.strip(), node.strip()) if named else ("", what.strip())] = reason.strip()
    return found


def may_skip(node: str, text: str, environment: Mapping[str, str]) -> bool:
    return any(
        node == entry or node.startswith((f"{entry}[", f"{entry}::"))
        for variable, entry in entries(text)
        if not variable or environment.get(variable)
    )
