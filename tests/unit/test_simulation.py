"""The simulation itself: a seed repeats its history, what failed once is kept, and each rule taken out is seen."""

import gc
import logging
import random
from collections.abc import Iterator
from itertools import chain

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.simulation.campaign import Regression, regressions
from tests.simulation.drawing import draw_plan
from tests.simulation.history import Outcome, run_plan
from tests.simulation.mutations import CLIENT_THAT_GOES_ON, MUTATIONS, applied
from tests.simulation.plan import Plan
from tests.simulation.shrink import shrink

KEPT = regressions()
BY_NAME = {mutation.name: mutation for mutation in MUTATIONS}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)
    gc.collect()


def variations(kept: Regression, count: int) -> Iterator[Plan]:
    return (replace(kept.plan, seed=kept.plan.seed + number) for number in range(count))


def told(outcome: Outcome) -> list[str]:
    return [repr(record) for record in outcome.log.records] if outcome.log else []


@given(st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_a_history_keeps_all_promises(seed: int) -> None:
    outcome = run_plan(draw_plan(seed))
    assert outcome.ok, outcome.problems


def test_a_seed_repeats_its_history() -> None:
    for seed in random.Random(1).sample(range(10_000), 10):
        first, again = run_plan(draw_plan(seed)), run_plan(draw_plan(seed))
        assert told(first) == told(again)
        assert first.steps == again.steps


@pytest.mark.parametrize("kept", KEPT, ids=lambda kept: kept.name)
def test_what_failed_once_does_so_no_longer(kept: Regression) -> None:
    for varied in variations(kept, 3):
        outcome = run_plan(varied)
        assert outcome.ok, (kept.found, varied.seed, outcome.problems)


def test_each_rule_has_a_plan_that_shows_its_absence() -> None:
    assert {kept.mutation for kept in KEPT if kept.mutation} == set(BY_NAME)


@pytest.mark.parametrize("kept", [kept for kept in KEPT if kept.mutation], ids=lambda kept: kept.name)
def test_a_rule_that_is_taken_out_is_missed(kept: Regression) -> None:
    """By the plan that is kept, its latencies drawn anew a few times; where the code has changed much, by others."""
    assert kept.mutation is not None
    with applied(BY_NAME[kept.mutation]):
        assert any(not run_plan(plan).ok for plan in chain(variations(kept, 100), map(draw_plan, range(1000))))


def test_nodes_hold_the_order_of_a_client_that_goes_on_behind_what_was_refused() -> None:
    """Found by a chaos run: the lane was open once the first of the refused commands was stored."""
    kept = next(kept for kept in KEPT if kept.mutation == "refused-not-awaited")
    with applied(CLIENT_THAT_GOES_ON):
        for varied in variations(kept, 20):
            outcome = run_plan(varied)
            assert outcome.ok, (varied.seed, outcome.problems)


def test_a_plan_that_fails_is_cut_down() -> None:
    with applied(BY_NAME["gaps-not-fetched"]):
        plan = next(plan for plan in map(draw_plan, range(1000)) if not run_plan(plan).ok)
        small = shrink(plan)
        assert not run_plan(small).ok
    assert len(small.actions) < len(plan.actions)
