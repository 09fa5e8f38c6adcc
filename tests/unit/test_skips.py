"""What may be skipped in CI."""

import pytest

from tests.skips import FILE, entries, may_skip

TEXT = """# a comment
tests/a.py::test_one # there is none of it
tests/a.py::test_two
TOKEN: tests/b.py::test_three # theirs has none
TOKEN: tests/c.py # asks much
"""


@pytest.mark.parametrize(
    ("node", "environment", "allowed"),
    [
        ("tests/a.py::test_one", {}, True),
        ("tests/a.py::test_one[x-1]", {}, True),
        ("tests/a.py::test_one_more", {}, False),
        ("tests/a.py::test_two", {}, False),
        ("tests/b.py::test_three", {}, False),
        ("tests/b.py::test_three", {"TOKEN": ""}, False),
        ("tests/b.py::test_three[y]", {"TOKEN": "set"}, True),
        ("tests/c.py::test_four[z]", {"TOKEN": "set"}, True),
        ("tests/c.py::test_four", {}, False),
    ],
)
def test_only_what_is_named_with_a_reason_may_be_skipped(
    node: str, environment: dict[str, str], *, allowed: bool
) -> None:
    assert may_skip(node, TEXT, environment) is allowed


def test_what_is_named_is_there() -> None:
    root = FILE.parents[1]
    for _, node in entries(FILE.read_text("utf-8")):
        path, _, name = node.partition("::")
        words = f"def {name.partition('[')[0]}(" if name else ""
        assert words in (root / path).read_text("utf-8"), node
