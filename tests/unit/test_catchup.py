"""Pages as history and tail together, chains, and what a room remembers."""

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from chatnode.protocol.cursors import Cursor
from chatnode.protocol.events import DeleteEvent, EditEvent, MessageEvent, ReactionEvent, StoredEvent
from chatnode.protocol.fold import Timeline
from chatnode.protocol.frames import Message, Position
from chatnode.rooms.catchup import NewestPages, merge
from chatnode.rooms.chain import Verdict, judge
from chatnode.rooms.ports import LiveMessage, Page
from chatnode.rooms.room import BURST_BYTES, HELD_MAX, RING_EVENTS, Room, TooFarBehind


def event(seq: int, kind: str, target: int, sender: str) -> StoredEvent:
    place = {
        "room": "r",
        "epoch": 1,
        "seq": seq,
        "prev": seq - 1,
        "cursor": f"1-{seq}-00000000",
        "ts": seq,
        "sender": sender,
        "id": f"i{seq}",
    }
    at = Position(1, target)
    match kind:
        case "message":
            return MessageEvent(**place, text=f"text {seq}")  # type: ignore[arg-type]
        case "edit":
            return EditEvent(**place, target=at, text=f"edited {seq}")  # type: ignore[arg-type]
        case "delete":
            return DeleteEvent(**place, target=at)  # type: ignore[arg-type]
        case _:
            return ReactionEvent(**place, target=at, emoji="👍", on=kind == "on")  # type: ignore[arg-type]


@st.composite
def conversations(draw: st.DrawFn) -> list[StoredEvent]:
    kinds = draw(
        st.lists(st.sampled_from(["message", "message", "message", "edit", "delete", "on", "off"]), max_size=30)
    )
    return [
        event(seq, kind, draw(st.integers(1, max(1, seq - 1))), draw(st.sampled_from("ab")))
        for seq, kind in enumerate(kinds, start=1)
    ]


def folded(events: list[StoredEvent]) -> tuple[Message, ...]:
    timeline = Timeline()
    for item in events:
        timeline.apply(item)
    return timeline.messages()


def cut(messages: tuple[Message, ...], limit: int, before: Position | None, after: Position | None) -> Page:
    """What a database that holds exactly these messages answers."""
    if before is not None:
        earlier = [message for message in messages if message.position < before]
        return Page(tuple(earlier[-limit:]), len(earlier) > limit, len(earlier) < len(messages))
    if after is not None:
        later = [message for message in messages if message.position > after]
        return Page(tuple(later[:limit]), len(later) < len(messages), len(later) > limit)
    return Page(messages[-limit:], len(messages) > limit)


@settings(max_examples=500)
@given(
    events=conversations(),
    written=st.integers(0, 30),
    ahead=st.integers(0, 5),
    limit=st.integers(1, 8),
    bound=st.one_of(st.none(), st.tuples(st.sampled_from(["before", "after"]), st.integers(0, 31))),
)
def test_history_and_tail_give_the_page_that_the_whole_would_give(
    events: list[StoredEvent], written: int, ahead: int, limit: int, bound: tuple[str, int] | None
) -> None:
    watermark = min(written, len(events))
    stored = folded(events[: min(len(events), watermark + ahead)])
    before = Position(1, bound[1]) if bound and bound[0] == "before" else None
    after = Position(1, bound[1]) if bound and bound[0] == "after" else None
    page = merge(
        cut(stored, limit, before, after),
        events[watermark:],
        before=before,
        after=after,
        around=None,
        limit=limit,
        upto=Position(1, 2**53 - 1),
    )
    expected = cut(folded(events), limit, before, after)
    assert page.messages == expected.messages
    if after is None:
        assert page.more_before == expected.more_before
    else:
        assert page.more_after == expected.more_after


def test_nothing_beyond_the_boundary_is_in_a_page() -> None:
    events = [event(seq, "message", 1, "a") for seq in range(1, 6)]
    page = merge(
        Page(folded(events), more_before=False),
        [],
        before=None,
        after=None,
        around=None,
        limit=10,
        upto=Position(1, 3),
    )
    assert [message.seq for message in page.messages] == [1, 2, 3]


def test_a_page_around_a_message_has_it_in_its_middle() -> None:
    events = [event(seq, "message", 1, "a") for seq in range(1, 31)]
    stored = folded(events[:20])
    page = merge(
        Page(stored[8:18], more_before=True, more_after=True),
        events[18:],
        before=None,
        after=None,
        around=Position(1, 13),
        limit=6,
        upto=Position(1, 99),
    )
    assert [message.seq for message in page.messages] == [10, 11, 12, 13, 14, 15]
    assert page.more_before
    assert page.more_after


@given(last=st.integers(0, 100), prev=st.integers(0, 100), step=st.integers(1, 100))
def test_only_a_predecessor_that_was_not_seen_is_a_gap(last: int, prev: int, step: int) -> None:
    seq = prev + step
    verdict = judge(last, prev, seq)
    if seq <= last:
        assert verdict is Verdict.STALE
    else:
        assert (verdict is Verdict.GAP) == (prev > last)


class Listener:
    def __init__(self, user: str = "u") -> None:
        self.user = user
        self.frames: list[bytes] = []

    @property
    def sink(self) -> "Listener":
        return self

    def write(self, framed: bytes) -> None:
        self.frames.append(framed)

    def write_all(self, frames: Sequence[bytes], joined: bytes) -> None:
        assert joined == b"".join(frames)
        self.frames += frames

    def ended(self, room: str, code: str, message: str, *, retryable: bool) -> None:
        raise AssertionError(room)


def delivered(count: int) -> Room:
    room = Room("r", 0)
    room.begin(1, Cursor(1, 10, "aaaaaaaa"))
    for seq in range(11, 11 + count):
        room.deliver(Cursor(1, seq, f"{seq:08x}"), b"%d" % seq)
    return room


def test_a_room_replays_exactly_what_came_after_a_cursor() -> None:
    room = delivered(5)
    assert room.replay(15) == []
    assert room.replay(12) == [b"13", b"14", b"15"]
    assert room.replay(10) == [b"11", b"12", b"13", b"14", b"15"]
    assert room.replay(9) is None


def test_a_room_does_not_replay_what_it_has_forgotten() -> None:
    room = delivered(RING_EVENTS + 1)
    assert room.replay(10) is None
    assert room.replay(11) is not None


def test_a_room_knows_whether_a_cursor_means_what_it_delivered() -> None:
    room = delivered(3)
    assert room.knows(Cursor(1, 13, f"{13:08x}")) is True
    assert room.knows(Cursor(1, 12, "bbbbbbbb")) is False
    assert room.knows(Cursor(1, 10, "aaaaaaaa")) is None
    assert room.knows(Cursor(1, 5, "aaaaaaaa")) is None


def test_every_follower_gets_every_event_once() -> None:
    room = delivered(0)
    one, two = Listener(), Listener()
    room.followers |= {one: one, two: two}
    assert room.deliver(Cursor(1, 11, "cccccccc"), b"x")
    assert room.flush() == 2
    assert room.flush() == 0
    assert (one.frames, two.frames) == ([b"x"], [b"x"])


def test_events_that_come_together_are_written_together_in_order() -> None:
    room = delivered(0)
    one = Listener()
    room.followers[one] = one
    firsts = [room.deliver(Cursor(1, seq, "cccccccc"), b"%d" % seq) for seq in (11, 12, 13)]
    assert firsts == [True, False, False]
    assert one.frames == []
    assert room.flush() == 3
    assert one.frames == [b"11", b"12", b"13"]
    assert room.deliver(Cursor(1, 14, "cccccccc"), b"14")


def test_what_is_gathered_is_bounded() -> None:
    room = delivered(0)
    room.deliver(Cursor(1, 11, "cccccccc"), b"x" * (BURST_BYTES - 1))
    assert not room.brimming
    room.deliver(Cursor(1, 12, "cccccccc"), b"xx")
    assert room.brimming
    room.flush()
    assert not room.brimming


def test_what_is_held_back_is_bounded() -> None:
    room = delivered(0)
    for seq in range(HELD_MAX):
        room.hold(LiveMessage(b"", seq + 12, seq + 11))
    try:
        room.hold(LiveMessage(b"", 99999, 99998))
    except TooFarBehind:
        return
    raise AssertionError("an unbounded queue")


def a_page(text: str) -> Page:
    message = Message(room="r", epoch=1, seq=1, id="i", sender="s", ts=1, text=text)
    return Page((message,), more_before=False)


def test_the_newest_page_is_kept_until_the_room_moves_on() -> None:
    pages = NewestPages()
    pages.keep("r", 50, Cursor(1, 7, "a"), a_page("seven"))
    assert pages.find("r", 50, Cursor(1, 7, "a")) == a_page("seven")
    for room, limit, cursor in [
        ("q", 50, Cursor(1, 7, "a")),
        ("r", 20, Cursor(1, 7, "a")),
        ("r", 50, Cursor(1, 8, "a")),
    ]:
        assert pages.find(room, limit, cursor) is None
    assert pages.find("r", 50, Cursor(2, 7, "a")) is None
    assert pages.find("r", 50, Cursor(1, 7, "b")) is None


def test_a_page_of_long_texts_takes_the_place_of_an_older_one_and_is_not_kept() -> None:
    pages = NewestPages()
    pages.keep("r", 50, Cursor(1, 7), a_page("short"))
    pages.keep("r", 50, Cursor(1, 8), a_page("x" * 100_000))
    assert pages.find("r", 50, Cursor(1, 7)) is None
    assert pages.find("r", 50, Cursor(1, 8)) is None


def test_of_many_pages_the_last_ones_are_kept() -> None:
    pages = NewestPages()
    for number in range(1000):
        pages.keep(f"r{number}", 50, Cursor(1, 1), a_page("text"))
    kept = [number for number in range(1000) if pages.find(f"r{number}", 50, Cursor(1, 1)) is not None]
    assert kept == list(range(1000 - len(kept), 1000))
    assert 1 <= len(kept) < 1000
