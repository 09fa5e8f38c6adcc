"""The ladder on virtual time, against networks that let some transports through and others not."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatclient.ladder import LADDER, PROBE_CAP_S, Do, End, Ladder, Transport

WS, SSE, POLL = LADDER
transports = st.permutations(LADDER).flatmap(lambda some: st.integers(1, 3).map(lambda n: tuple(some[:n])))


class Network:
    """Carries out what a ladder decides. ``through``: transport → seconds that a connection lasts, inf for ever."""

    def __init__(self, ladder: Ladder, through: dict[Transport, float], chance: random.Random) -> None:
        self.ladder = ladder
        self.through = through
        self.now = 0.0
        self.attempts: list[tuple[float, Transport]] = []
        self.probes: list[float] = []
        self.open: Transport | None = None
        self._ends: float | None = None
        self._chance = chance
        self._until: float | None = None
        self.do(ladder.start(0.0))

    def do(self, decision: object) -> None:
        self._until = decision.until  # type: ignore[attr-defined]
        match decision.do:  # type: ignore[attr-defined]
            case Do.CONNECT:
                self.open, self._ends = None, None
                self.attempt(decision.transport)  # type: ignore[attr-defined]
            case Do.WAIT:
                self.open, self._ends = None, None
            case Do.PROBE:
                self.probes.append(self.now)
                self.probe()
            case Do.SWITCH:
                self.open = self.ladder.first
                self._ends = self.now + self.through[self.open]

    def attempt(self, transport: Transport) -> None:
        self.attempts.append((self.now, transport))
        if transport in self.through:
            self.open, self._ends = transport, self.now + self.through[transport]
            self.do(self.ladder.welcome(self.now))
        else:
            self.do(self.ladder.ended(self.now, End(), draw=self._chance.random()))

    def probe(self) -> None:
        if self.ladder.first in self.through:
            self.do(self.ladder.probe_welcome(self.now))
        else:
            self.do(self.ladder.probe_ended(self.now, End()))

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while True:
            due = [at for at in (self._until, self._ends) if at is not None and at <= end]
            if not due:
                break
            self.now = max(self.now, min(due))
            if self._ends is not None and self._ends <= self.now:
                self.open, self._ends = None, None
                self.do(self.ladder.ended(self.now, End(), draw=self._chance.random()))
            else:
                self.do(self.ladder.tick(self.now, draw=self._chance.random()))
        self.now = end


@given(transports, st.sets(st.sampled_from(LADDER), min_size=1), st.integers(0, 999))
def test_whatever_gets_through_is_found_within_two_minutes(
    ladder: tuple[Transport, ...], through: set[Transport], seed: int
) -> None:
    network = Network(Ladder(ladder), dict.fromkeys(through, float("inf")), random.Random(seed))
    network.run(120.0)
    assert (network.open in through) == bool(through & set(ladder))


@given(st.sets(st.sampled_from((SSE, POLL)), min_size=1), st.integers(0, 999))
def test_websocket_is_found_again_within_ten_minutes_of_being_let_through(lower: set[Transport], seed: int) -> None:
    network = Network(Ladder(), dict.fromkeys(lower, float("inf")), random.Random(seed))
    network.run(random.Random(seed).uniform(120.0, 8_000.0))
    assert network.open in lower
    network.through[WS] = float("inf")
    network.run(PROBE_CAP_S)
    assert network.open is WS


@given(st.integers(0, 999))
def test_where_nothing_gets_through_attempts_become_rare(seed: int) -> None:
    network = Network(Ladder(), {}, random.Random(seed))
    network.run(3_600.0)
    assert {transport for _, transport in network.attempts} == set(LADDER)
    late = [at for at, _ in network.attempts if at > 600.0]
    # Four waits of up to 30 s in each round of six attempts.
    assert len(late) < 3_000 / 15 * 6 / 4 * 1.5


@given(st.floats(0.1, 9.9), st.integers(0, 999))
def test_a_network_that_cuts_sockets_gets_probed_ever_less(lasts: float, seed: int) -> None:
    network = Network(Ladder(), {WS: lasts, SSE: float("inf")}, random.Random(seed))
    network.run(7_200.0)
    if network.open is not SSE:
        # Just now it went up once more and was cut: three short connections, each after a short wait.
        network.run(60.0)
    assert network.open is SSE
    assert len(network.probes) < 20
    assert len([transport for _, transport in network.attempts if transport is POLL]) == 0


@given(transports, st.integers(0, 999))
def test_offline_nothing_counts_and_the_transport_stays(ladder: tuple[Transport, ...], seed: int) -> None:
    machine = Ladder(ladder)
    machine.offline()
    network = Network(machine, {}, random.Random(seed))
    network.run(600.0)
    assert {transport for _, transport in network.attempts} == {ladder[0]}


moments = st.lists(
    st.tuples(
        st.sampled_from(
            ("welcome", "ended", "told", "reconnect", "tick", "offline", "online", "visible", "probe+", "probe-")
        ),
        st.floats(0.0, 70.0),
    ),
    max_size=60,
)


@given(transports, moments, st.integers(0, 999))
def test_at_any_time_something_is_under_way_or_due(
    ladder: tuple[Transport, ...], inputs: list[tuple[str, float]], seed: int
) -> None:
    """No order of inputs, sensible or not, leaves a client without a connection and without a time to try again."""
    chance = random.Random(seed)
    machine, now, connected = Ladder(ladder), 0.0, False
    decision = machine.start(now)
    for name, seconds in inputs:
        now += seconds
        match name:
            case "welcome":
                decision = machine.welcome(now)
                connected = True
            case "ended":
                decision = machine.ended(now, End(), draw=chance.random())
            case "told":
                decision = machine.ended(now, End(status=503, retry_after=3.0), draw=chance.random())
            case "reconnect":
                decision = machine.reconnect(now, 5.0)
            case "tick":
                decision = machine.tick(now, draw=chance.random())
            case "offline":
                decision = machine.offline()
            case "online":
                decision = machine.online(now)
            case "visible":
                decision = machine.visible(now)
            case "probe+":
                decision = machine.probe_welcome(now)
            case "probe-":
                decision = machine.probe_ended(now, End())
        if decision.do in (Do.CONNECT, Do.WAIT):
            connected = False
        assert connected or decision.until is not None
        assert decision.transport in ladder


@pytest.mark.parametrize("transports", [(), (WS, WS)])
def test_a_ladder_without_rungs_or_with_one_twice_is_refused(transports: tuple[Transport, ...]) -> None:
    with pytest.raises(ValueError, match="each once"):
        Ladder(transports)
