"""Folding: a page and the events after it make the page that would be read afresh, for every kind of event."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET
from msgspec.structs import replace

from chatnode.protocol.events import (
    DeleteEvent,
    EditEvent,
    MemberEvent,
    MessageEvent,
    ReactionEvent,
    StoredEvent,
)
from chatnode.protocol.fold import Timeline, message_of
from chatnode.protocol.frames import Deletion, MemberChange, Message, Position

USERS = ("ana", "bob", "eve")
EMOJI = ("👍", "🎉")


def common(n: int, sender: str = "ana", *, epoch: int = 1, command: str | None = None) -> dict[str, object]:
    return {
        "room": "r",
        "epoch": epoch,
        "seq": n,
        "prev": n - 1,
        "cursor": f"{epoch}-{n}-0",
        "ts": 1_000 + n,
        "sender": sender,
        "id": command or f"c{epoch}-{n}",
    }


def message(n: int, text: str = "hello", **more: object) -> MessageEvent:
    return MessageEvent(**common(n, **more), text=text)


def edit(n: int, target: int, text: str, *, on: int = 1, **more: object) -> EditEvent:
    return EditEvent(**common(n, **more), target=Position(on, target), text=text)


def delete(n: int, target: int, **more: object) -> DeleteEvent:
    return DeleteEvent(**common(n, **more), target=Position(1, target))


def react(
    n: int, target: int, sender: str = "ana", emoji: str = "👍", *, on: bool = True, **more: object
) -> ReactionEvent:
    return ReactionEvent(**common(n, sender, **more), target=Position(1, target), emoji=emoji, on=on)


def folded(events: Sequence[StoredEvent], page: Sequence[Message] = ()) -> tuple[Message, ...]:
    timeline = Timeline(page)
    for event in events:
        timeline.apply(event)
    return timeline.messages()


@st.composite
def logs(draw: st.DrawFn) -> list[StoredEvent]:
    """A room's log: commands on earlier positions, second copies, numbers that come again in a new epoch."""
    log: list[StoredEvent] = []
    epoch, seq = 1, 0
    for _ in range(draw(st.integers(0, 30))):
        if draw(st.integers(0, 15)) == 0:
            epoch, seq = epoch + 1, draw(st.integers(0, seq))
        seq += draw(st.integers(1, 3))
        fields = common(seq, draw(st.sampled_from(USERS)), epoch=epoch)
        begun = [Position(event.epoch, event.seq) for event in log if isinstance(event, MessageEvent)]
        target = draw(st.sampled_from([*begun, Position(1, 10_000)]))
        match draw(st.sampled_from(["message", "edit", "delete", "reaction", "reaction", "member", "copy"])):
            case "message":
                reply_to = draw(st.sampled_from([UNSET, target]))
                log.append(MessageEvent(**fields, text=f"text {seq}", reply_to=reply_to, mentions=draw(mentions)))
            case "edit":
                log.append(EditEvent(**fields, target=target, text=f"edit {seq}", mentions=draw(mentions)))
            case "delete":
                log.append(DeleteEvent(**fields, target=target))
            case "reaction":
                emoji, on = draw(st.sampled_from(EMOJI)), draw(st.booleans())
                log.append(ReactionEvent(**fields, target=target, emoji=emoji, on=on))
            case "member":
                log.append(MemberEvent(**fields, change=MemberChange("eve", draw(st.sampled_from(["learner", None])))))
            case _ if log:
                original = draw(st.sampled_from(log))
                log.append(replace(original, epoch=epoch, seq=seq, ts=1_000 + seq))
            case _:
                pass
    return log


mentions = st.sampled_from([UNSET, (), ("bob",)])


def without_copies(log: Sequence[StoredEvent]) -> list[StoredEvent]:
    first: dict[tuple[str, str], StoredEvent] = {}
    for event in log:
        first.setdefault((event.sender, event.id), event)
    return list(first.values())


def read_afresh(log: Sequence[StoredEvent]) -> tuple[Message, ...]:
    """What the rules of the protocol say about a whole log, told message by message."""
    counted = without_copies(log)
    return tuple(
        as_it_stands(event, [other for other in counted if getattr(other, "target", None) == (position_of(event))])
        for event in counted
        if isinstance(event, MessageEvent | MemberEvent)
    )


def position_of(event: StoredEvent) -> Position:
    return Position(event.epoch, event.seq)


def as_it_stands(event: MessageEvent | MemberEvent, about: Sequence[StoredEvent]) -> Message:
    begun = message_of(event)
    deletes = [other for other in about if isinstance(other, DeleteEvent)]
    edits = [other for other in about if isinstance(other, EditEvent)]
    if deletes:
        first = deletes[0]
        begun = replace(begun, text="", mentions=(), deleted=Deletion(first.sender, first.ts))
        return revised(begun, first)
    if edits:
        last = edits[-1]
        given_mentions = () if last.mentions is UNSET else last.mentions
        begun = revised(replace(begun, text=last.text, mentions=given_mentions, edited=last.ts), last)
    return replace(begun, reactions=reactions_of(about))


def revised(begun: Message, by: StoredEvent) -> Message:
    return replace(begun, rev=by.seq, rev_epoch=by.epoch if by.epoch != begun.epoch else 0)


def reactions_of(about: Sequence[StoredEvent]) -> dict[str, tuple[str, ...]]:
    last = {(other.emoji, other.sender): other.on for other in about if isinstance(other, ReactionEvent)}
    return {
        emoji: users
        for emoji in sorted(EMOJI)
        if (users := tuple(sorted(user for (what, user), on in last.items() if what == emoji and on)))
    }


@given(logs())
def test_folding_a_log_says_what_the_rules_say(log: list[StoredEvent]) -> None:
    assert folded(log) == read_afresh(log)


@given(logs(), st.data())
def test_a_page_and_the_events_after_it_make_the_fresh_page(log: list[StoredEvent], data: st.DataObject) -> None:
    log = without_copies(log)
    at = data.draw(st.integers(0, len(log)))
    assert folded(log[at:], folded(log[:at])) == folded(log)


@given(logs(), st.data())
def test_events_that_the_page_contains_already_change_nothing_in_the_end(
    log: list[StoredEvent], data: st.DataObject
) -> None:
    log = without_copies(log)
    at = data.draw(st.integers(0, len(log)))
    begin = data.draw(st.integers(0, at))
    assert folded(log[begin:], folded(log[:at])) == folded(log)


@given(logs(), st.data())
def test_a_page_that_begins_late_is_kept_right_for_the_messages_in_it(
    log: list[StoredEvent], data: st.DataObject
) -> None:
    log = without_copies(log)
    at = data.draw(st.integers(0, len(log)))
    page = folded(log[:at])[-3:]
    begin = page[0].position if page else Position(10_000, 0)
    assert [m for m in folded(log[at:], page) if m.position >= begin] == [m for m in folded(log) if m.position >= begin]


@given(logs())
def test_applying_everything_twice_is_applying_it_once(log: list[StoredEvent]) -> None:
    once = folded(log)
    assert folded(log, once) == once


@given(logs())
def test_apply_returns_exactly_what_changed(log: list[StoredEvent]) -> None:
    timeline = Timeline()
    for event in log:
        before = timeline.messages()
        changed = timeline.apply(event)
        after = timeline.messages()
        assert (set(map(repr, after)) - set(map(repr, before))) == ({repr(changed)} if changed else set())


@pytest.mark.parametrize(
    "copied",
    [message(1), edit(3, 1, "first edit"), react(3, 1), delete(3, 1)],
    ids=["message", "edit", "reaction", "delete"],
)
def test_a_second_copy_at_a_higher_place_is_void(copied: StoredEvent) -> None:
    log = [message(1), message(2), copied if copied.seq > 1 else react(3, 2), edit(4, 1, "last"), react(5, 1, on=False)]
    assert folded([*log, replace(copied, seq=9)]) == folded(log)


def test_an_edit_that_an_edit_overtook_stays_overtaken() -> None:
    assert folded([message(1), edit(5, 1, "new"), edit(3, 1, "old")])[0].text == "new"


def test_an_edit_in_a_new_epoch_counts_though_its_number_is_lower() -> None:
    log = [message(80), edit(90, 80, "before the restore"), edit(60, 80, "after", epoch=2)]
    assert folded(log)[0].text == "after"
    assert folded([*log, edit(95, 80, "before, again")])[0].text == "after"


def test_what_is_deleted_says_nothing_and_stays_deleted() -> None:
    log = [message(1), react(2, 1), delete(3, 1, sender="bob"), edit(4, 1, "back"), react(5, 1), delete(6, 1)]
    (gone,) = folded(log)
    assert (gone.text, gone.reactions, gone.deleted) == ("", {}, Deletion("bob", 1_003))


def test_the_same_id_of_two_senders_is_two_messages() -> None:
    assert len(folded([message(1, sender="ana", command="x"), message(2, sender="bob", command="x")])) == 2
