"""The client's machine, input by input."""

import itertools
import json

import pytest

from chatclient.errors import Ended, Refused
from chatclient.machine import Machine, State, Timing
from chatclient.outputs import Dial, FetchToken, Finish, Greeted, HangUp, Output, Reject, Settle, Write
from chatnode.protocol.codec import encode_frame
from chatnode.protocol.errors import CloseCode
from chatnode.protocol.frames import Ack, History, Limits, Presence, Read, Send, Typing, Unsubscribe, Welcome

NOW = 100.0


class Bench:
    """A machine with everything that it said, frames decoded."""

    def __init__(self, *, renewable: bool = False, draw: float = 0.5) -> None:
        numbers = itertools.count(1)
        self.machine = Machine(
            Timing(), ids=lambda: f"i{next(numbers)}", draw=lambda: draw, wall=lambda: 1_000.0, renewable=renewable
        )
        self.now = NOW

    def said(self) -> list[Output]:
        return self.machine.outputs()

    def frames(self) -> list[dict[str, object]]:
        return [json.loads(output.data) for output in self.said() if isinstance(output, Write)]

    def hears(self, **fields: object) -> None:
        self.machine.received(self.now, json.dumps(fields))

    def at(self, seconds: float) -> None:
        self.now = NOW + seconds
        while self.machine.deadline is not None and self.machine.deadline <= self.now:
            self.machine.tick(self.now)

    def welcome(self, expires_at: int = 2_000_000) -> None:
        (connect,) = self.frames()
        self.machine.received(self.now, welcome_to(str(connect["id"]), expires_at))


def welcome_to(connect: str, expires_at: int = 2_000_000) -> bytes:
    welcome = Welcome(
        id=connect,
        user="ana",
        name="Ana",
        node="n",
        session="s",
        version="0",
        heartbeat_ms=25_000,
        expires_at=expires_at,
        limits=Limits(),
    )
    return encode_frame(welcome)


def opened(**options: bool | float) -> Bench:
    bench = Bench(**options)
    bench.machine.start(NOW)
    assert bench.said() == [Dial()]
    bench.machine.opened(bench.now, "token-1")
    return bench


def ready(**options: bool | float) -> Bench:
    bench = opened(**options)
    bench.welcome()
    bench.said()
    return bench


def send(command: str, room: str = "r") -> Send:
    return Send(id=command, room=room, text="x")


def ack_of(command: str) -> dict[str, object]:
    return {"type": "ack", "id": command, "room": "r", "epoch": 1, "seq": 1, "ts": 1}


# The connection.


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


def test_an_ended_token_ends_nothing_for_whoever_can_get_a_new_one() -> None:
    bench = ready(renewable=True)
    bench.machine.closed(NOW, CloseCode.TOKEN_EXPIRED, "")
    assert bench.machine.state is State.PAUSED


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


# Stored commands.


def test_commands_unanswered_at_a_disconnect_come_again_in_order_and_say_so() -> None:
    bench = ready()
    for command in ("a", "b"):
        bench.machine.store(NOW, send(command))
    bench.hears(**ack_of("a"))
    assert Settle("a", Ack(id="a", room="r", epoch=1, seq=1, ts=1)) in bench.said()
    bench.machine.closed(NOW, None, "")
    bench.machine.store(NOW, send("c"))
    bench.at(1.0)
    bench.said()
    bench.machine.opened(bench.now, "token")
    bench.welcome()
    assert [(frame["id"], frame.get("again", False)) for frame in bench.frames()] == [("b", True), ("c", False)]


def test_a_refusal_for_good_is_told_and_the_next_goes_on() -> None:
    bench = ready()
    bench.machine.store(NOW, send("a"))
    bench.machine.store(NOW, send("b"))
    bench.hears(type="error", id="a", code="forbidden", message="no", retryable=False, field="room")
    (reject,) = [output for output in bench.said() if isinstance(output, Reject)]
    assert isinstance(reject.error, Refused)
    assert (reject.call, reject.error.code, reject.error.field) == ("a", "forbidden", "room")
    bench.hears(**ack_of("b"))
    assert any(isinstance(output, Settle) for output in bench.said())


def test_a_refusal_for_now_is_waited_out_and_the_command_comes_again() -> None:
    bench = ready()
    bench.machine.store(NOW, send("a"))
    bench.said()
    bench.hears(type="error", id="a", code="rate_limited", message="", retryable=True, retry_after=3)
    bench.at(2.9)
    assert bench.frames() == []
    bench.at(3.0)
    (frame,) = bench.frames()
    assert (frame["id"], frame["again"]) == ("a", True)


def test_rooms_do_not_wait_for_each_other() -> None:
    bench = ready()
    bench.machine.store(NOW, send("a", "r"))
    bench.hears(type="error", id="a", code="unavailable", message="", retryable=True, retry_after=30)
    bench.said()
    bench.machine.store(NOW, send("b", "s"))
    assert [frame["id"] for frame in bench.frames()] == ["b"]


def test_an_abandoned_command_is_taken_back_only_if_it_was_never_written() -> None:
    bench = ready()
    bench.machine.store(NOW, send("a"))
    bench.hears(type="error", id="a", code="unavailable", message="", retryable=True, retry_after=3)
    bench.machine.store(NOW, send("b"))
    bench.machine.abandon("a")
    bench.machine.abandon("b")
    bench.said()
    bench.at(10.0)
    assert [frame["id"] for frame in bench.frames()] == ["a"]


# Other commands.


def test_a_question_that_a_lost_connection_left_open_is_asked_again() -> None:
    bench = ready()
    bench.machine.query(NOW, History(id="h", room="r"))
    bench.machine.query(NOW, Typing(id="t", room="r"))
    bench.said()
    bench.machine.closed(NOW, None, "")
    assert [output.call for output in bench.said() if isinstance(output, Settle)] == ["t"]
    bench.at(1.0)
    bench.said()
    bench.machine.opened(bench.now, "token")
    bench.welcome()
    assert [frame["id"] for frame in bench.frames()] == ["h"]
    bench.hears(type="ack", id="h", room="r", messages=[])
    assert [output.call for output in bench.said() if isinstance(output, Settle)] == ["h"]


def test_typing_and_unsubscribing_need_nobody_where_there_is_no_connection() -> None:
    bench = ready()
    bench.machine.closed(NOW, None, "")
    bench.said()
    bench.machine.query(NOW, Typing(id="t", room="r"))
    bench.machine.query(NOW, Unsubscribe(id="u", room="r"))
    assert [output.call for output in bench.said() if isinstance(output, Settle)] == ["t", "u"]


def test_a_question_refused_for_now_is_asked_again_later_and_more_slowly() -> None:
    bench = ready()
    bench.machine.query(NOW, Read(id="q", room="r", at=None))  # type: ignore[arg-type]
    bench.said()
    bench.hears(type="error", id="q", code="unavailable", message="", retryable=True)
    bench.at(0.2)
    (again,) = bench.frames()
    assert again["id"] == "q"
    bench.hears(type="error", id="q", code="unavailable", message="", retryable=True)
    bench.at(0.3)
    assert bench.frames() == []
    bench.at(1.0)
    assert len(bench.frames()) == 1
    bench.hears(type="error", id="q", code="forbidden", message="", retryable=False)
    assert [output.call for output in bench.said() if isinstance(output, Reject)] == ["q"]


def test_an_abandoned_question_is_not_asked_again() -> None:
    bench = ready()
    bench.machine.query(NOW, Presence(id="p", room="r"))
    bench.said()
    bench.machine.abandon("p")
    bench.hears(type="error", id="p", code="unavailable", message="", retryable=True)
    bench.hears(type="error", id="p", code="forbidden", message="", retryable=False)
    bench.at(5.0)
    assert bench.said() == []


# Tokens.


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


# Subscriptions.


def test_a_subscription_is_made_anew_after_a_reconnection_from_its_cursor() -> None:
    bench = ready()
    bench.machine.subscribe(NOW, "call", "r", None, 10)
    (subscribe,) = bench.frames()
    assert (subscribe["room"], subscribe["limit"], "cursor" in subscribe) == ("r", 10, False)
    bench.hears(type="ack", id=subscribe["id"], room="r", recovered=False, cursor="1-5-0", messages=[])
    (settled,) = [output for output in bench.said() if isinstance(output, Settle)]
    assert settled.call == "call"
    bench.machine.closed(NOW, None, "")
    bench.at(1.0)
    bench.said()
    bench.machine.opened(bench.now, "token")
    output = bench.machine.outputs()[0]
    assert isinstance(output, Write)
    assert json.loads(output.data)["cursors"] == {"r": "1-5-0"}


def test_a_subscription_refused_for_now_is_asked_for_again_and_one_refused_for_good_is_over() -> None:
    bench = ready()
    bench.machine.subscribe(NOW, "call", "r", None, None)
    (first,) = bench.frames()
    bench.hears(type="error", id=first["id"], code="unavailable", message="", retryable=True, retry_after=1)
    assert bench.said() == []
    bench.at(1.0)
    (second,) = bench.frames()
    bench.hears(type="error", id=second["id"], code="forbidden", message="no", retryable=False)
    assert [output.call for output in bench.said() if isinstance(output, Reject)] == ["call"]
    event = bench.machine.take(NOW)
    assert event is not None
    assert getattr(event, "code", "") == "forbidden"


def test_a_subscription_that_the_node_ends_for_now_is_made_anew() -> None:
    bench = ready()
    bench.machine.subscribe(NOW, "call", "r", "1-3-0", None)
    (subscribe,) = bench.frames()
    bench.hears(type="ack", id=subscribe["id"], room="r", recovered=True, cursor="1-3-0")
    bench.said()
    bench.hears(type="event", kind="unsubscribed", room="r", code="unavailable", message="", retryable=True)
    bench.at(0.2)
    (again,) = bench.frames()
    assert (again["type"], again["cursor"]) == ("subscribe", "1-3-0")


def test_an_ack_of_subscribe_without_its_fields_is_nonsense() -> None:
    bench = ready()
    bench.machine.subscribe(NOW, "call", "r", None, None)
    (subscribe,) = bench.frames()
    bench.hears(type="ack", id=subscribe["id"], room="r")
    assert bench.machine.state is State.PAUSED


def test_an_abandoned_subscription_is_followed_all_the_same() -> None:
    bench = ready()
    bench.machine.subscribe(NOW, "call", "r", None, None)
    (subscribe,) = bench.frames()
    bench.machine.abandon("call")
    bench.hears(type="ack", id=subscribe["id"], room="r", recovered=False, cursor="1-5-0")
    assert bench.said() == []
    assert bench.machine.take(NOW) is not None


def test_unsubscribing_ends_what_waits_for_the_room() -> None:
    bench = ready()
    bench.machine.subscribe(NOW, "call", "r", None, None)
    bench.machine.query(NOW, Unsubscribe(id="u", room="r"))
    rejected = [output for output in bench.said() if isinstance(output, Reject)]
    assert [output.call for output in rejected] == ["call"]
    assert isinstance(rejected[0].error, Ended)


# The end.


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
