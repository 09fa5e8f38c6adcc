"""The parts of the client's machine: backoff, outbox, and what is followed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatclient.backoff import ceiling, delay
from chatclient.following import SEEN_MAX, Following, Verdict
from chatclient.inbox import Inbox, Refusal
from chatclient.outbox import WINDOW, Outbox
from chatnode.protocol import limits
from chatnode.protocol.events import MessageEvent, SubscribedEvent, TypingEvent, UnsubscribedEvent
from chatnode.protocol.frames import Message, Send

# Backoff.


@pytest.mark.parametrize(
    ("attempt", "seconds"), [(0, 1), (1, 2), (2, 4), (3, 8), (4, 16), (5, 30), (6, 30), (10**6, 30)]
)
def test_the_longest_wait_doubles_up_to_thirty_seconds(attempt: int, seconds: float) -> None:
    assert ceiling(attempt) == seconds


@given(st.integers(0, 100), st.floats(0, 1, exclude_max=True))
def test_the_wait_is_anywhere_between_nothing_and_the_longest(attempt: int, draw: float) -> None:
    assert 0 <= delay(attempt, draw) < ceiling(attempt)
    assert delay(attempt, 0) == 0


# Outbox.


def outbox(*ids: str) -> Outbox:
    box = Outbox()
    for each in ids:
        box.add(Send(id=each, room="r", text="x"))
    return box


def taken(box: Outbox, now: float = 0.0) -> list[str]:
    return [command.id + ("!" if command.again else "") for command in box.take(now)]


def test_commands_are_written_in_order_and_once() -> None:
    box = outbox("a", "b")
    assert taken(box) == ["a", "b"]
    assert taken(box) == []
    box.settled("a")
    box.add(Send(id="c", room="r", text="x"))
    assert taken(box) == ["c"]
    assert [command.id for command in box] == ["b", "c"]
    assert len(box) == 2


def test_no_more_than_a_window_is_under_way() -> None:
    box = outbox(*(f"c{n}" for n in range(WINDOW + 2)))
    assert len(taken(box)) == WINDOW
    box.settled("c3")
    assert taken(box) == [f"c{WINDOW}"]


def test_after_a_failure_the_head_comes_again_alone_and_the_rest_when_it_is_acked() -> None:
    box = outbox("a", "b", "c")
    taken(box)
    box.failed("a", 0.0, draw=0.0, retry_after=2.0)
    assert taken(box, 5.0) == []
    box.failed("b", 0.0, draw=0.0, retry_after=None)
    box.settled("c")
    assert box.wake == 2.0
    assert taken(box, 1.9) == []
    assert taken(box, 2.0) == ["a!"]
    assert taken(box, 3.0) == []
    box.settled("a")
    assert taken(box, 3.0) == ["b!"]


def test_failure_after_failure_the_head_waits_longer() -> None:
    box = outbox("a")
    now, waits = 0.0, []
    for _ in range(8):
        taken(box, now)
        box.failed("a", now, draw=1.0, retry_after=None)
        assert box.wake is not None
        waits.append(box.wake - now)
        now = box.wake
    assert waits == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]


def test_a_new_connection_begins_from_the_head_with_all_of_it_at_once() -> None:
    box = outbox("a", "b")
    taken(box)
    box.add(Send(id="c", room="r", text="x"))
    box.failed("a", 0.0, draw=1.0, retry_after=60.0)
    box.disconnected()
    assert box.wake is None
    assert taken(box) == ["a!", "b!", "c"]


def test_what_an_earlier_process_may_have_sent_says_so_at_once() -> None:
    box = Outbox()
    box.add(Send(id="a", room="r", text="x", again=True))
    assert taken(box) == ["a!"]


def test_only_what_was_never_written_can_be_taken_back() -> None:
    box = outbox("a")
    taken(box)
    box.add(Send(id="b", room="r", text="x"))
    assert not box.discard("a")
    assert box.discard("b")
    assert not box.discard("b")
    assert ["a" in box, "b" in box] == [True, False]


# What is followed.


def event(seq: int, *, prev: int | None = None, epoch: int = 1, command: str | None = None) -> MessageEvent:
    return MessageEvent(
        room="r",
        epoch=epoch,
        seq=seq,
        prev=seq - 1 if prev is None else prev,
        cursor=f"{epoch}-{seq}-0",
        ts=1,
        sender="ana",
        id=command or f"c{epoch}-{seq}",
        text="x",
    )


def following(*had: MessageEvent) -> Following:
    room = Following("r", None, None)
    room.begun(recovered=False, cursor="1-0-0", page=())
    for each in had:
        room.passed(each)
    return room


@pytest.mark.parametrize(
    ("next_event", "verdict"),
    [
        (event(6), Verdict.DELIVER),
        (event(9, prev=5), Verdict.DELIVER),
        (event(9, prev=3), Verdict.DELIVER),
        (event(9, prev=0), Verdict.DELIVER),
        (event(9, prev=6), Verdict.GAP),
        (event(5, command="other"), Verdict.DROP),
        (event(4, command="other"), Verdict.DROP),
        (event(9, prev=5, command="c1-5"), Verdict.DROP),
        (event(1, epoch=2), Verdict.GAP),
        (event(9, epoch=0), Verdict.DROP),
    ],
)
def test_the_chain_says_what_to_do_with_an_event(next_event: MessageEvent, verdict: Verdict) -> None:
    assert following(event(5)).judge(next_event) is verdict


@pytest.mark.parametrize(
    ("cursor", "verdict"), [("1-99-0", Verdict.DELIVER), ("1-98-0", Verdict.GAP), ("another-kind", Verdict.DELIVER)]
)
def test_the_first_event_after_a_page_is_checked_against_its_cursor(cursor: str, verdict: Verdict) -> None:
    room = Following("r", None, None)
    room.begun(recovered=False, cursor=cursor, page=())
    assert room.judge(event(100)) is verdict


def test_the_first_event_after_a_cursor_that_was_given_is_checked_against_it() -> None:
    room = Following("r", "1-3-0", None)
    room.begun(recovered=True, cursor="1-3-0", page=())
    assert [room.judge(event(4)), room.judge(event(6))] == [Verdict.DELIVER, Verdict.GAP]


def test_what_was_in_the_page_is_void_behind_it() -> None:
    room = Following("r", None, None)
    page = [Message(room="r", epoch=1, seq=3, id="c", sender="ana", ts=1, text="x")]
    room.begun(recovered=False, cursor="1-3-0", page=page)
    assert room.judge(event(4, command="c")) is Verdict.DROP


def test_the_cursor_is_that_of_the_last_event_also_where_it_was_void() -> None:
    room = following(event(5), event(9, command="c1-5"))
    assert room.cursor == "1-9-0"
    room.passed(event(7))
    assert room.cursor == "1-9-0"


def test_recovered_goes_on_from_the_cursor_that_was_presented() -> None:
    room = following(event(5))
    room.begun(recovered=True, cursor="1-90-0", page=())
    assert room.cursor == "1-5-0"
    assert room.judge(event(9, prev=6)) is Verdict.GAP


def test_a_bounded_number_of_commands_is_remembered() -> None:
    room = following(*(event(n) for n in range(1, SEEN_MAX + 10)))
    assert room.judge(event(10_000, prev=0, command="c1-1")) is Verdict.DELIVER
    assert room.judge(event(10_000, prev=0, command="c1-100")) is Verdict.DROP


# Rooms and events that wait.


def subscribed(room: str = "r", *, recovered: bool = False) -> SubscribedEvent:
    return SubscribedEvent(room=room, cursor="1-0-0", recovered=recovered)


def followed(inbox: Inbox, room: str = "r", ticket: str = "t") -> None:
    inbox.follow("call", room, None, None)
    for each in inbox.due(0.0):
        each.asked(ticket)


def test_the_result_of_an_earlier_subscription_means_nothing_any_more() -> None:
    inbox = Inbox(10)
    followed(inbox, ticket="old")
    followed(inbox, ticket="new")
    assert inbox.result("old", subscribed()) == []
    assert not inbox.events
    assert inbox.result("new", subscribed()) == ["call", "call"]
    assert inbox.result("new", subscribed()) == []


def test_a_room_whose_event_finds_no_place_falls_behind_and_is_due_when_there_is_room() -> None:
    inbox = Inbox(4)
    followed(inbox)
    inbox.result("t", subscribed())
    for seq in range(1, 8):
        assert inbox.stored(event(seq))
    inbox.passing(TypingEvent(room="r", sender="bob", active=True, expires_ms=1))
    assert len(inbox.events) == 4
    assert inbox.cursor("r") == "1-3-0"
    inbox.take()
    assert inbox.due(0.0) == []
    inbox.take()
    assert inbox.stirred
    assert [each.cursor for each in inbox.due(0.0)] == ["1-3-0"]


def test_a_result_that_finds_no_place_is_asked_for_again() -> None:
    inbox = Inbox(1)
    followed(inbox, "q")
    inbox.result("t", subscribed("q"))
    followed(inbox, "r", "u")
    assert inbox.result("u", subscribed("r")) == []
    inbox.take()
    assert [each.room for each in inbox.due(0.0)] == ["r"]


def test_a_room_that_is_behind_stays_so_over_a_reconnection() -> None:
    inbox = Inbox(1)
    followed(inbox)
    inbox.result("t", subscribed())
    inbox.stored(event(1))
    inbox.disconnected()
    assert inbox.resume("c") == {}
    assert inbox.due(0.0) == []


def test_cursors_are_presented_as_far_as_they_fit_and_the_rest_is_due() -> None:
    inbox = Inbox(10_000)
    for number in range(limits.CURSORS + 2):
        inbox.follow("call", f"r{number}", "1-1-0", None)
    inbox.follow("call", "fresh", None, None)
    assert len(inbox.resume("c")) == limits.CURSORS
    assert [each.room for each in inbox.due(0.0)] == ["r500", "r501", "fresh"]


def test_a_room_refused_for_now_is_due_later_and_one_refused_for_good_is_an_event() -> None:
    inbox = Inbox(10)
    followed(inbox)
    inbox.refused_for_now("t", "r", 5.0)
    assert (inbox.due(4.9), inbox.wake(), inbox.failures("r")) == ([], 5.0, 1)
    (due,) = inbox.due(5.0)
    due.asked("u")
    assert inbox.refused("t", "r", Refusal("forbidden", "no")) == []
    assert inbox.refused("u", "r", Refusal("forbidden", "no")) == ["call"]
    assert inbox.take() == UnsubscribedEvent(room="r", code="forbidden", message="no", retryable=False)
    assert inbox.cursor("r") is None


def test_events_of_rooms_that_are_not_followed_are_dropped() -> None:
    inbox = Inbox(10)
    assert inbox.stored(event(1))
    inbox.follow("call", "r", None, None)
    assert inbox.stored(event(1))
    assert inbox.take() is None


def test_a_gap_makes_the_room_due() -> None:
    inbox = Inbox(10)
    followed(inbox)
    inbox.result("t", subscribed())
    assert inbox.stored(event(1))
    assert not inbox.stored(event(3))
    assert [each.cursor for each in inbox.due(0.0)] == ["1-1-0"]
    assert inbox.stored(event(2))
    assert len(inbox.events) == 2
