"""A process that stood still is careful for a while, whichever of its callbacks comes first when it goes on."""

from chatnode.session.stillness import CAREFUL_S, STOOD_S, Stillness


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_process_that_runs_is_not_careful() -> None:
    clock = Clock()
    stillness = Stillness(clock)
    for _ in range(100):
        clock.now += STOOD_S - 0.1
        stillness.beat()
        assert not stillness.lately()


def test_what_is_read_before_the_first_beat_after_a_stop_is_read_carefully() -> None:
    clock = Clock()
    stillness = Stillness(clock)
    clock.now += STOOD_S + 0.1
    assert stillness.lately()


def test_so_is_what_is_read_after_it_for_a_while() -> None:
    clock = Clock()
    stillness = Stillness(clock)
    clock.now += 200.0
    stillness.beat()
    clock.now += CAREFUL_S - 0.1
    assert stillness.lately()
    clock.now += 0.2
    assert not stillness.lately()


def test_load_is_no_stop() -> None:
    clock = Clock()
    stillness = Stillness(clock)
    clock.now += 3.0
    assert not stillness.lately()
