"""What may be taken out of a stream."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatnode.worker.retention import purge_point, relief_point


@dataclass
class View:
    """A stream of a thousand bytes."""

    first_seq: int = 1
    last_seq: int = 100
    size: int = 0
    max_bytes: int = 1000
    epoch: int = 1
    closed: bool = False


@given(st.integers(0, 100), st.none() | st.integers(1, 100))
def test_nothing_young_and_nothing_that_is_not_applied_is_purged(watermark: int, young: int | None) -> None:
    point = purge_point(watermark, young)
    purged = range(1, point)
    assert watermark not in purged
    assert watermark + 1 not in purged
    assert young is None or young not in purged


@pytest.mark.parametrize(
    ("view", "watermark", "point"),
    [
        (View(size=700), 100, None),
        (View(size=1000), 100, 51),
        (View(size=800), 100, 39),
        (View(size=1000), 20, 20),
        (View(size=1000, first_seq=901, last_seq=1000), 1000, 951),
        (View(size=10**9, max_bytes=-1), 100, None),
        (View(size=10**9, max_bytes=0), 100, None),
    ],
)
def test_a_stream_that_is_nearly_full_is_brought_to_half_of_its_size(
    view: View, watermark: int, point: int | None
) -> None:
    assert relief_point(watermark, view) == point


@given(st.integers(0, 200), st.integers(1, 200), st.integers(0, 200), st.integers(0, 2000))
def test_relief_never_takes_what_is_not_applied(watermark: int, first: int, count: int, size: int) -> None:
    point = relief_point(watermark, View(first_seq=first, last_seq=first + count - 1, size=size))
    assert point is None or point <= watermark
