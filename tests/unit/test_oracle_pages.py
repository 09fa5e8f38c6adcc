"""A loss in a page is found, also in one that came without MongoDB (``partial``) and when everything is read later."""

import dataclasses
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatnode.protocol.events import StoredEvent, SubscribedEvent, WholeEvent
from chatnode.protocol.fold import Timeline
from chatnode.protocol.frames import Delete, Edit, Message, Position, React, Send, StoredCommand
from tests.oracle import Acked, Delivered, HistoryRead, Invoked, Log, Rule, Settled, Subscribed, judge
from tests.oracle.effects import event_of, place
from tests.oracle.pages import lacking
from tests.oracle.recording import EventRecorder

ROOM = "r"
SENDS = 6


@dataclasses.dataclass
class Room:
    """Ana writes, and has everything; Bob is given a page."""

    stored: list[StoredEvent] = dataclasses.field(default_factory=list)
    log: Log = dataclasses.field(default_factory=Log)

    def now(self) -> float:
        return float(len(self.log.records))

    def store(self, command: StoredCommand) -> Position:
        self.log.add(Invoked(at=self.now(), client="ana", user="ana", command=command))
        at = Position(1, len(self.stored) + 1)
        self.stored.append(event_of(command, "ana", at, ts=len(self.stored), prev=len(self.stored)))
        self.log.add(Delivered(at=self.now(), client="ana", event=self.stored[-1]))
        self.log.add(Acked(at=self.now(), client="ana", user="ana", command=command.id, room=ROOM, position=at))
        return at

    def messages(self, events: Sequence[StoredEvent] | None = None) -> tuple[Message, ...]:
        timeline = Timeline()
        for event in self.stored if events is None else events:
            timeline.apply(event)
        return timeline.messages()

    def give_page(self, messages: Sequence[Message], *, partial: bool, asked: bool) -> None:
        """To Bob, as of now, who asked for it or came back."""
        recorder = EventRecorder("bob")
        if asked:
            recorder.asked(ROOM, self.now(), None)
        event = SubscribedEvent(
            room=ROOM,
            cursor=f"1-{len(self.stored)}-0",
            recovered=False,
            messages=tuple(messages),
            more_before=True,
            partial=partial,
        )
        record = recorder.record(event, self.now())
        assert record is not None
        self.log.add(record)
        assert recorder.record(WholeEvent(room=ROOM), self.now()) is None

    def read_all(self) -> None:
        """Bob asks again once MongoDB is back, and everything is there."""
        self.log.add(
            HistoryRead(
                at=self.now(),
                client="bob",
                room=ROOM,
                messages=self.messages(),
                newest=True,
                oldest=True,
                asked_at=self.now(),
            )
        )
        self.give_page(self.messages(), partial=False, asked=True)
        for client in ("ana", "bob"):
            self.log.add(Settled(at=self.now(), client=client, room=ROOM, upto=place(self.stored[-1])))

    def judged(self) -> frozenset[Rule]:
        return judge(self.log.records, {ROOM: self.messages()}).rules


@pytest.fixture
def room() -> Room:
    room = Room()
    room.log.add(Subscribed(at=0.0, client="ana", room=ROOM, recovered=False, since=Position(1, 0)))
    for number in range(SENDS):
        room.store(Send(id=f"c{number}", room=ROOM, text=f"message {number}"))
    return room


@pytest.fixture(params=[True, False], ids=["asked", "came back"])
def asked(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def test_a_partial_page_may_begin_later_than_the_room(room: Room, asked: bool) -> None:
    room.give_page(room.messages()[3:], partial=True, asked=asked)
    room.read_all()
    assert room.judged() == frozenset()


@pytest.mark.parametrize("lost", range(1, SENDS))
def test_a_message_that_a_partial_page_lacks_is_found_when_a_whole_one_follows(
    room: Room, lost: int, asked: bool
) -> None:
    messages = room.messages()
    room.give_page([*messages[:lost], *messages[lost + 1 :]], partial=True, asked=asked)
    room.read_all()
    assert Rule.GAP in room.judged()


def test_a_partial_page_without_anything_is_found(room: Room, asked: bool) -> None:
    room.give_page((), partial=True, asked=asked)
    room.read_all()
    assert Rule.GAP in room.judged()


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (Edit(id="x", room=ROOM, target=Position(1, 3), text="mended"), Rule.STALE),
        (Delete(id="x", room=ROOM, target=Position(1, 3)), Rule.RESURRECTED),
        (React(id="x", room=ROOM, target=Position(1, 3), emoji="+1"), Rule.STALE),
    ],
    ids=["edit", "delete", "reaction"],
)
@pytest.mark.parametrize("partial", [True, False])
def test_a_change_that_a_page_lacks_is_found_when_a_whole_one_follows(
    room: Room, change: Edit | Delete | React, rule: Rule, partial: bool, asked: bool
) -> None:
    without = room.messages()
    room.store(change)
    room.give_page(without, partial=partial, asked=asked)
    room.read_all()
    assert rule in room.judged()


def test_a_reaction_that_was_taken_back_and_is_in_the_page_is_found(room: Room) -> None:
    room.store(React(id="x", room=ROOM, target=Position(1, 3), emoji="+1"))
    before = room.messages()
    room.store(React(id="y", room=ROOM, target=Position(1, 3), emoji="+1", on=False))
    room.give_page(before, partial=True, asked=False)
    room.read_all()
    assert Rule.STALE in room.judged()


CHANGES = st.one_of(
    st.builds(lambda at: lambda new: Edit(id=new, room=ROOM, target=Position(1, at), text=new), st.integers(1, 3)),
    st.builds(lambda at: lambda new: Delete(id=new, room=ROOM, target=Position(1, at)), st.integers(1, 3)),
    st.builds(
        lambda at, on: lambda new: React(id=new, room=ROOM, target=Position(1, at), emoji="+1", on=on),
        *(st.integers(1, 3), st.booleans()),
    ),
)


def _changed(changes: Sequence[Callable[[str], StoredCommand]]) -> Room:
    room = Room()
    for number in range(3):
        room.store(Send(id=f"c{number}", room=ROOM, text="hello"))
    for number, change in enumerate(changes):
        room.store(change(f"x{number}"))
    return room


def _lacks(room: Room, since: int, messages: Sequence[Message]) -> bool:
    place_of_page = Position(1, since)
    page = Subscribed(at=0.0, client="bob", room=ROOM, recovered=False, since=place_of_page, messages=tuple(messages))
    return bool(list(lacking([page], {place(event): event for event in room.stored})))


@given(st.lists(CHANGES, max_size=12), st.data())
def test_a_page_as_of_its_place_or_ahead_of_it_lacks_nothing(
    changes: list[Callable[[str], StoredCommand]], data: st.DataObject
) -> None:
    room = _changed(changes)
    since = data.draw(st.integers(3, len(room.stored)))
    ahead = data.draw(st.integers(since, len(room.stored)))
    assert not _lacks(room, since, room.messages(room.stored[:ahead]))


@given(st.lists(CHANGES, max_size=12), st.data())
def test_a_page_that_is_behind_its_place_lacks_what_changed_since(
    changes: list[Callable[[str], StoredCommand]], data: st.DataObject
) -> None:
    room = _changed(changes)
    behind = room.messages(room.stored[: data.draw(st.integers(3, len(room.stored)))])
    assert _lacks(room, len(room.stored), behind) == (behind != room.messages())
