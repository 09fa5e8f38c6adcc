"""The token of the client's connection: renewed in time, or when its owner asks; refused, and ended."""

import pytest

from chatclient.machine import State
from chatclient.outputs import FetchToken, Reject, Settle
from chatnode.protocol.errors import CloseCode
from tests.unit.client_bench import NOW, opened, ready


def test_an_ended_token_ends_nothing_for_whoever_can_get_a_new_one() -> None:
    bench = ready(renewable=True)
    bench.machine.closed(NOW, CloseCode.TOKEN_EXPIRED, "")
    assert bench.machine.state is State.PAUSED


def test_a_new_token_is_fetched_and_presented_before_the_old_one_ends() -> None:
    bench = opened(renewable=True)
    bench.welcome(expires_at=1_600_000)
    bench.said()
    for seconds in range(20, 540, 20):
        bench.at(seconds)
        for frame in bench.frames():
            bench.hears(type="ack", id=frame["id"], ts=1)
    bench.at(540)
    assert FetchToken() in bench.said()
    bench.machine.token(bench.now, "token-2")
    (refresh,) = bench.frames()
    assert (refresh["type"], refresh["token"]) == ("refresh", "token-2")


def test_a_short_lived_token_is_renewed_when_four_fifths_of_its_life_are_over() -> None:
    bench = opened(renewable=True)
    bench.welcome(expires_at=1_010_000)
    bench.said()
    bench.at(7.9)
    assert bench.said() == []
    bench.at(8.0)
    assert bench.said() == [FetchToken()]


def test_a_fixed_token_is_not_renewed() -> None:
    bench = opened()
    bench.welcome(expires_at=1_010_000)
    bench.said()
    bench.at(15.0)
    assert bench.said() == []


def test_renewing_is_answered_by_the_refresh_or_by_the_next_connection() -> None:
    bench = ready(renewable=True)
    bench.machine.renew("one")
    assert bench.said() == [FetchToken()]
    bench.machine.token(NOW, "token-2")
    (refresh,) = bench.frames()
    bench.hears(type="ack", id=refresh["id"], expires_at=3_000_000)
    assert [output.call for output in bench.said() if isinstance(output, Settle)] == ["one"]
    bench.machine.renew("two")
    bench.machine.closed(NOW, None, "")
    bench.at(1.0)
    bench.said()
    bench.machine.opened(bench.now, "token-3")
    bench.welcome()
    assert [output.call for output in bench.said() if isinstance(output, Settle)] == ["two"]


@pytest.mark.parametrize("retryable", [True, False])
def test_a_refresh_that_is_refused_is_told_and_tried_again_where_that_helps(retryable: bool) -> None:
    bench = ready(renewable=True)
    bench.machine.renew("one")
    bench.machine.token(NOW, "token-2")
    (refresh,) = bench.frames()
    bench.hears(type="error", id=refresh["id"], code="x", message="", retryable=retryable, retry_after=1)
    assert [output.call for output in bench.said() if isinstance(output, Reject)] == ["one"]
    bench.at(1.0)
    assert bench.said() == ([FetchToken()] if retryable else [])
