"""The simulation itself: a seed repeats its history, what failed once is kept, and each rule taken out is seen."""

import gc
import logging
import random
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.simulation.campaign import Regression, regressions
from tests.simulation.mutations import MUTATIONS, applied
from tests.simulation.plan import draw_plan
from tests.simulation.shrink import shrink
from tests.simulation.world import Outcome, run_plan

KEPT = regressions()
BY_NAME = {mutation.name: mutation for mutation in MUTATIONS}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)
    gc.collect()


def told(outcome: Outcome) -> list[str]:
    return [repr(record) for record in outcome.log.records] if outcome.log else []


@given(st.integers(0, 2**32))
@settings(max_examples=50, deadline=None)
def test_a_history_keeps_all_promises(seed: int) -> None:
    outcome = run_plan(draw_plan(seed))
    assert outcome.ok, outcome.problems


def test_a_seed_repeats_its_history() -> None:
    for seed in random.Random(1).sample(range(10_000), 20):
        first, again = run_plan(draw_plan(seed)), run_plan(draw_plan(seed))
        assert told(first) == told(again)
        assert first.steps == again.steps


@pytest.mark.parametrize("kept", KEPT, ids=lambda kept: kept.name)
def test_what_failed_once_does_so_no_longer(kept: Regression) -> None:
    outcome = run_plan(kept.plan)
    assert outcome.ok, (kept.found, outcome.problems)


@pytest.mark.parametrize("kept", [kept for kept in KEPT if kept.mutation], ids=lambda kept: kept.name)
def test_a_rule_that_is_taken_out_is_missed(kept: Regression) -> None:
    assert kept.mutation is not None
    with applied(BY_NAME[kept.mutation]):
        assert not run_plan(kept.plan).ok


def test_a_plan_that_fails_is_cut_down() -> None:
    kept = next(kept for kept in KEPT if kept.mutation == "copies-count-in-history")
    plan = draw_plan(kept.plan.seed)
    with applied(BY_NAME["copies-count-in-history"]):
        small = shrink(plan)
        assert not run_plan(small).ok
    assert len(small.actions) < len(plan.actions)
