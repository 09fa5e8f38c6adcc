"""The client's machine and its connection, input by input."""

import pytest

from chatclient.errors import Ended
from chatclient.machine import State
from chatclient.outputs import Dial, Finish, Greeted, HangUp, Reject, Write
from chatnode.protocol.errors import CloseCode
from chatnode.protocol.frames import History, Presence
from tests.unit.client_bench import NOW, Bench, opened, ready, send, welcome_to


def test_the_first_frame_brings_the_token_and_the_welcome_makes_it_ready() -> None:
    bench = opened()
    bench.machine.store(NOW, send("a"))
    assert bench.machine.state is State.GREETING
    bench.welcome()
    outputs = bench.said()
    assert isinstance(outputs[0], Greeted)
    assert isinstance(outputs[1], Write)
    assert bench.machine.state is State.READY


@pytest.mark.parametrize("code", [None, 1000, 1001, 1006, 1011, 4000, 4001, 4005])
def test_after_a_lost_connection_it_dials_again_after_a_jittered_while(code: int | None) -> None:
    bench = ready()
    waits = []
    for _ in range(7):
        bench.machine.closed(bench.now, code, "")
        assert bench.machine.state is State.PAUSED
        assert bench.machine.deadline is not None
        waits.append(bench.machine.deadline - bench.now)
        bench.at(bench.machine.deadline - NOW)
        assert bench.said() == [Dial()]
    assert waits == [0.5, 1, 2, 4, 8, 15, 15]


def test_a_connection_that_lasts_makes_the_next_wait_short_again() -> None:
    bench = ready()
    for _ in range(5):
        bench.machine.closed(bench.now, None, "")
        bench.at(bench.now - NOW + 60)
    bench.said()
    bench.machine.opened(bench.now, "token")
    bench.welcome()
    bench.at(bench.now - NOW + 10)
    bench.machine.closed(bench.now, None, "")
    assert bench.machine.deadline == bench.now + 0.5


@pytest.mark.parametrize("code", [4500, 4501, 4502, 4503, 4999])
def test_a_final_close_code_ends_it_and_everything_that_waits(code: int) -> None:
    bench = ready()
    bench.machine.store(NOW, send("a"))
    bench.machine.query(NOW, History(id="h", room="r"))
    bench.machine.subscribe(NOW, "s", "r", None, None)
    bench.said()
    bench.machine.closed(NOW, code, "over")
    outputs = bench.said()
    assert {output.call for output in outputs if isinstance(output, Reject)} == {"a", "h", "s"}
    assert isinstance(outputs[-1], Finish)
    assert outputs[-1].error is not None
    assert outputs[-1].error.code == code
    assert bench.machine.deadline is None


def test_a_connect_that_is_refused_for_good_ends_it() -> None:
    bench = opened()
    (connect,) = bench.frames()
    bench.hears(type="error", id=connect["id"], code="unauthenticated", message="no", retryable=False)
    finish = bench.said()[-1]
    assert isinstance(finish, Finish)
    assert "unauthenticated" in str(finish.error)


def test_a_connect_that_is_refused_for_now_waits_as_long_as_it_is_told() -> None:
    bench = opened()
    (connect,) = bench.frames()
    bench.hears(type="error", id=connect["id"], code="unavailable", message="no", retryable=True, retry_after=7.5)
    assert any(isinstance(output, HangUp) for output in bench.said())
    assert bench.machine.deadline == NOW + 7.5


def test_reconnect_is_obeyed_after_its_time_and_at_once() -> None:
    bench = ready()
    bench.hears(type="reconnect", after_ms=4_000, reason="drain")
    bench.machine.store(NOW, send("a"))
    assert [frame["id"] for frame in bench.frames()] == ["a"]
    bench.at(4.0)
    outputs = bench.said()
    assert isinstance(outputs[0], HangUp)
    assert outputs[1:] == [Dial()]


def test_a_node_that_closes_before_the_time_it_told_is_not_dialled_before_it() -> None:
    bench = ready(draw=0.0)
    bench.hears(type="reconnect", after_ms=4_000, reason="drain")
    bench.machine.closed(NOW + 1, 1001, "")
    assert bench.machine.deadline == NOW + 4


def test_silence_is_filled_with_pings_and_a_ping_without_answer_ends_the_connection() -> None:
    bench = ready()
    bench.at(19.9)
    assert bench.said() == []
    bench.at(20.0)
    (ping,) = bench.frames()
    assert ping["type"] == "ping"
    bench.hears(type="ack", id=ping["id"], ts=1)
    bench.at(31.0)
    assert bench.machine.state is State.READY
    bench.at(40.0)
    bench.at(50.0)
    assert bench.machine.state is State.PAUSED


def test_whatever_is_written_puts_the_ping_off() -> None:
    bench = ready()
    bench.at(15.0)
    bench.machine.query(bench.now, Presence(id="p", room="r"))
    bench.hears(type="ack", id="p", room="r", online=[], count=0)
    bench.said()
    bench.at(34.9)
    assert bench.said() == []


def test_a_command_without_answer_ends_the_connection_and_comes_again() -> None:
    bench = ready()
    bench.machine.store(NOW, send("a"))
    bench.said()
    bench.at(15.0)
    assert bench.machine.state is State.PAUSED
    bench.at(16.0)
    bench.machine.opened(bench.now, "token")
    bench.said()
    bench.machine.received(bench.now, b"{}")


@pytest.mark.parametrize(
    "data", [b"", b"[]", b'{"type":"ack"}', b'{"type":"event","kind":"message"}', b'{"type":"welcome","id":"x"}']
)
def test_a_node_that_speaks_nonsense_is_hung_up_on(data: bytes) -> None:
    bench = ready()
    bench.machine.received(NOW, data)
    (hang_up,) = [output for output in bench.said() if isinstance(output, HangUp)]
    assert hang_up.code == CloseCode.PROTOCOL_ERROR
    assert bench.machine.state is State.PAUSED


def test_a_second_welcome_is_nonsense() -> None:
    bench = opened()
    bench.machine.received(NOW, welcome_to("other"))
    assert bench.machine.state is State.PAUSED


def test_frames_of_later_versions_and_answers_to_nobody_are_passed_over() -> None:
    bench = ready()
    bench.hears(type="later")
    bench.hears(type="event", kind="later", room="r")
    bench.hears(type="ack", id="nobody")
    bench.hears(type="error", id="nobody", code="invalid", message="", retryable=False)
    bench.hears(type="error", code="invalid", message="", retryable=False)
    assert bench.said() == []
    assert bench.machine.state is State.READY


def test_inputs_at_the_wrong_time_change_nothing() -> None:
    bench = Bench()
    bench.machine.opened(NOW, "token")
    bench.machine.closed(NOW, 1000, "")
    bench.machine.received(NOW, b"nonsense")
    bench.machine.token(NOW, "token")
    assert (bench.said(), bench.machine.state) == ([], State.IDLE)


def test_closing_ends_everything_once() -> None:
    bench = ready()
    bench.machine.store(NOW, send("a"))
    bench.machine.renew("n")
    bench.said()
    bench.machine.close()
    outputs = bench.said()
    assert {output.call for output in outputs if isinstance(output, Reject)} == {"a", "n"}
    assert outputs[-2:] == [HangUp(CloseCode.NORMAL, ""), Finish(None)]
    bench.machine.close()
    bench.machine.fail(Ended("again"))
    bench.machine.closed(NOW, 1000, "")
    bench.machine.tick(NOW)
    assert bench.said() == []


def test_after_the_end_everything_is_rejected() -> None:
    bench = ready()
    bench.machine.fail(Ended("no token"))
    bench.said()
    bench.machine.store(NOW, send("a"))
    bench.machine.query(NOW, Presence(id="b", room="r"))
    bench.machine.subscribe(NOW, "c", "r", None, None)
    bench.machine.renew("d")
    assert [output.call for output in bench.said() if isinstance(output, Reject)] == ["a", "b", "c", "d"]
