"""Whether a soak sees what grows."""

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.soak import Soak


def soak_of(*values: float, name: str = "node_files") -> Soak:
    soak = Soak()
    for at, value in enumerate(values):
        soak.add(at * 15.0, {name: value})
    return soak


def test_what_stays_has_not_grown() -> None:
    assert soak_of(*[2029.0] * 80).grown() == []


def test_one_file_in_half_a_minute_is_found() -> None:
    assert soak_of(*[2029.0 + at // 2 for at in range(80)]).grown() == ["node_files"]


def test_what_fills_in_the_first_quarter_is_not_growth() -> None:
    assert soak_of(*[50.0 + at for at in range(20)], *[70.0] * 60).grown() == []


def test_memory_may_breathe_by_three_percent_but_not_climb() -> None:
    breathing = [90.0 + at % 3 for at in range(80)]
    assert soak_of(*breathing, name="node_rss_mib").grown() == []
    climbing = [90.0 + at / 8 for at in range(80)]
    assert soak_of(*climbing, name="node_rss_mib").grown() == ["node_rss_mib"]


@given(st.lists(st.floats(1, 1e6), max_size=8))
def test_too_few_samples_say_nothing_false(values: list[float]) -> None:
    soak = soak_of(*values)
    assert set(soak.grown()) <= set(soak.growth())
