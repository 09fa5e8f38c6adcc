"""What the client's machine says on a connection, and what it makes of the answers, input by input."""

import json

from chatclient.errors import Ended, Refused
from chatclient.machine import State
from chatclient.outputs import Reject, Settle, Write
from chatnode.protocol.frames import Ack, History, Presence, Read, Typing, Unsubscribe
from tests.unit.client_bench import NOW, ack_of, ready, send


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


def test_a_room_that_cannot_be_followed_for_long_is_asked_for_every_few_seconds() -> None:
    """MongoDB has a new primary after some seconds: whoever waits longer than that for a room waits for nothing."""
    bench = ready()
    bench.machine.subscribe(NOW, "call", "r", None, None)
    (asked,) = bench.frames()
    now = 0.0
    for _ in range(12):
        bench.hears(type="error", id=asked["id"], code="unavailable", message="", retryable=True)
        deadline = bench.machine.deadline
        assert deadline is not None
        assert deadline - NOW - now <= 4.0
        now += 4.0
        bench.at(now)
        asked = next(frame for frame in bench.frames() if frame["type"] == "subscribe")


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
