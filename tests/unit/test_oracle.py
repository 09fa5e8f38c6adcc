"""The oracle passes every run that keeps the promises, and says no to each way of breaking one."""

from collections.abc import Callable, Sequence

import pytest
from msgspec.structs import replace

from chatnode.protocol.events import EditEvent, MessageEvent, ReactionEvent
from chatnode.protocol.frames import Delete, Edit, Message, Position, React, Send
from tests.oracle import (
    Acked,
    Delivered,
    HistoryRead,
    Invoked,
    Record,
    Refused,
    Rule,
    Settled,
    Subscribed,
    judge,
)
from tests.oracle.effects import place
from tests.unit.oracle_run import ROOM, Run


def a_good_run() -> Run:
    """Three clients, two of one user; every kind of command; somebody who joins late, and somebody who resumes."""
    run = Run()
    run.subscribe("ana-1")
    run.subscribe("bob-1")
    first = run.send("ana-1", "one")
    second = run.send("bob-1", "two")
    run.send("ana-1", "three")
    for make in (
        lambda new: Edit(id=new, room=ROOM, target=first, text="one, mended"),
        lambda new: React(id=new, room=ROOM, target=second, emoji="+1"),
    ):
        command = run.invoke("ana-1", make)
        run.ack("ana-1", command, run.store("ana-1", command))
    for _ in range(3):
        run.deliver("ana-1")
        run.deliver("bob-1")
    run.subscribe("ana-2", limit=2)
    run.resume("bob-1")
    run.send("ana-2", "four")
    third = run.begin("bob-1", "maybe")
    run.give_up("bob-1", third)
    refused = run.begin("bob-1", "no")
    run.refuse("bob-1", refused)
    run.send("ana-1", "five")
    run.read("bob-1")
    run.settle()
    return run


def test_the_good_run_passes() -> None:
    assert a_good_run().judged() == frozenset()


def without(records: Sequence[Record], unwanted: Callable[[Record], bool]) -> list[Record]:
    return [record for record in records if not unwanted(record)]


def index_of(run: Run, wanted: Callable[[Record], bool]) -> int:
    return next(index for index, record in enumerate(run.records) if wanted(record))


def gets(client: str, text: str) -> Callable[[Record], bool]:
    return lambda record: (
        isinstance(record, Delivered)
        and record.client == client
        and isinstance(record.event, MessageEvent)
        and record.event.text == text
    )


def nobody_but_history_forgets(run: Run) -> list[Message]:
    return [message for message in run.page() if message.text != "three"]


def test_an_acked_message_that_the_history_lacks_is_lost() -> None:
    run = a_good_run()
    assert Rule.LOST in judge(run.records, {ROOM: nobody_but_history_forgets(run)}).rules


def test_an_acked_message_that_nobody_has_is_lost() -> None:
    run = a_good_run()
    records = without(run.records, lambda r: isinstance(r, Delivered) and r.event.id == "c3")
    assert Rule.LOST in judge(records, {ROOM: nobody_but_history_forgets(run)}).rules


def test_an_acked_edit_that_the_history_lacks_is_found() -> None:
    run = a_good_run()
    history = [replace(m, text="one", edited=None) if m.text == "one, mended" else m for m in run.page()]
    assert Rule.WRONG_FOLD in judge(run.records, {ROOM: history}).rules


def test_an_acked_edit_that_nobody_got_and_the_history_lacks_is_found() -> None:
    run = a_good_run()
    gone = run.stored.pop(3)
    assert isinstance(gone, EditEvent)
    records = without(run.records, lambda r: isinstance(r, Delivered) and r.event == gone)
    records = without(records, lambda r: isinstance(r, Subscribed) and r.client == "ana-2")
    records = without(records, lambda r: isinstance(r, Delivered | Settled) and r.client == "ana-2")
    assert Rule.GAP in judge(records, {ROOM: run.page()}).rules


def test_a_message_twice_in_the_history_is_a_duplicate() -> None:
    run = a_good_run()
    history = [*run.page(), replace(run.page()[0], seq=99)]
    assert Rule.DUPLICATED in judge(run.records, {ROOM: history}).rules


def test_an_event_delivered_twice_is_a_duplicate() -> None:
    run = a_good_run()
    index = index_of(run, gets("bob-1", "four"))
    run.records.insert(index + 1, run.records[index])
    assert Rule.DUPLICATED in run.judged()


def test_an_event_that_was_in_the_page_already_is_a_duplicate() -> None:
    run = a_good_run()
    index = index_of(run, lambda r: isinstance(r, Subscribed) and r.client == "ana-2")
    run.records.insert(index + 1, Delivered(at=0.0, client="ana-2", event=run.stored[2]))
    assert Rule.DUPLICATED in run.judged()


def test_two_events_the_wrong_way_round_are_reordered() -> None:
    run = a_good_run()
    one, other = index_of(run, gets("bob-1", "one")), index_of(run, gets("bob-1", "two"))
    run.records[one], run.records[other] = run.records[other], run.records[one]
    assert Rule.REORDERED in run.judged()


@pytest.mark.parametrize("where", ["history", "delivery"])
def test_what_nobody_sent_is_a_phantom(where: str) -> None:
    run = a_good_run()
    ghost = replace(run.stored[0], id="ghost", seq=run.stored[-1].seq + 2)
    if where == "history":
        run.stored.append(ghost)
    else:
        run.records.append(Delivered(at=run.now(), client="bob-1", event=ghost))
    assert Rule.PHANTOM in run.judged()


def test_an_event_before_its_command_is_premature() -> None:
    run = a_good_run()
    invoked = index_of(run, lambda r: isinstance(r, Invoked) and getattr(r.command, "text", "") == "one")
    delivered = index_of(run, gets("ana-1", "one"))
    run.records.insert(invoked, run.records.pop(delivered))
    assert Rule.PREMATURE in run.judged()


@pytest.mark.parametrize("where", ["history", "delivery"])
def test_other_words_than_were_sent_are_altered(where: str) -> None:
    run = a_good_run()
    history = list(run.page())
    if where == "history":
        history[1] = replace(history[1], text="else")
    else:
        index = index_of(run, gets("bob-1", "two"))
        record = run.records[index]
        assert isinstance(record, Delivered)
        run.records[index] = replace(record, event=replace(record.event, text="else"))
    assert Rule.ALTERED in judge(run.records, {ROOM: history}).rules


def test_a_missed_event_is_a_gap() -> None:
    run = a_good_run()
    del run.records[index_of(run, gets("bob-1", "two"))]
    assert Rule.GAP in run.judged()


def test_a_missed_reaction_is_a_gap() -> None:
    run = a_good_run()
    run.records = without(
        run.records, lambda r: isinstance(r, Delivered) and r.client == "bob-1" and isinstance(r.event, ReactionEvent)
    )
    assert {Rule.GAP, Rule.WRONG_FOLD} <= run.judged()


def test_a_missing_end_is_a_gap_once_all_is_quiet() -> None:
    run = a_good_run()
    last = index_of(run, gets("bob-1", "five"))
    settled = index_of(run, lambda r: isinstance(r, Settled) and r.client == "bob-1")
    unsettled = [record for index, record in enumerate(run.records) if index not in (last, settled)]
    assert judge(unsettled, {ROOM: run.page()}).ok
    del run.records[last]
    assert run.judged() == {Rule.GAP}


def test_an_event_lost_between_the_page_and_the_first_event_is_a_gap() -> None:
    run = a_good_run()
    del run.records[index_of(run, gets("ana-2", "four"))]
    assert Rule.GAP in run.judged()


def test_a_page_with_a_hole_is_a_gap() -> None:
    run = a_good_run()
    index = index_of(run, lambda r: isinstance(r, Subscribed) and r.client == "ana-2")
    record = run.records[index]
    assert isinstance(record, Subscribed)
    run.records[index] = replace(record, messages=record.messages[:1], asked_at=None)
    assert run.judged() == {Rule.GAP}


def test_a_recovery_that_skips_is_a_gap() -> None:
    run = Run()
    run.subscribe("bob-1")
    run.send("ana-1", "missed")
    run.resume("bob-1")
    run.send("ana-1", "after")
    run.delivered["bob-1"] = 1
    run.settle()
    assert run.judged() == {Rule.GAP}


def test_a_senders_messages_in_another_order_are_found() -> None:
    run = Run()
    one = run.begin("ana-1", "one")
    two = run.begin("ana-1", "two")
    run.ack("ana-1", two, run.store("ana-1", two))
    run.ack("ana-1", one, run.store("ana-1", one))
    assert run.judged() == {Rule.SENDER_ORDER}


def test_the_order_of_what_was_not_acked_counts_too() -> None:
    run = Run()
    one = run.begin("ana-1", "one")
    two = run.begin("ana-1", "two")
    run.store("ana-1", two)
    run.store("ana-1", one)
    assert run.judged() == {Rule.SENDER_ORDER}


def test_two_clients_of_one_user_have_no_order_between_them() -> None:
    run = Run()
    one = run.begin("ana-1", "one")
    two = run.begin("ana-2", "two")
    run.ack("ana-2", two, run.store("ana-2", two))
    run.ack("ana-1", one, run.store("ana-1", one))
    assert run.judged() == frozenset()


def test_an_ack_of_another_place_is_false() -> None:
    run = a_good_run()
    index = index_of(run, lambda r: isinstance(r, Acked) and r.command == "c2")
    record = run.records[index]
    assert isinstance(record, Acked)
    run.records[index] = replace(record, position=run.stored[0] and place(run.stored[0]))
    assert Rule.FALSE_ACK in run.judged()


def test_an_ack_of_what_was_never_sent_is_false() -> None:
    run = a_good_run()
    run.ack("ana-1", Send(id="ghost", room=ROOM, text="x"), Position(1, 2))
    assert run.judged() == {Rule.FALSE_ACK}


def test_two_acks_of_one_command_at_two_places_are_false() -> None:
    run = a_good_run()
    run.ack("ana-1", Send(id="c1", room=ROOM, text="one"), Position(1, 999))
    assert Rule.FALSE_ACK in run.judged()


def test_a_reaction_acked_at_another_place_is_false() -> None:
    run = a_good_run()
    index = index_of(run, lambda r: isinstance(r, Acked) and r.command == "c5")
    record = run.records[index]
    assert isinstance(record, Acked)
    run.records[index] = replace(record, position=Position(1, 3))
    assert Rule.FALSE_ACK in run.judged()


def test_what_was_refused_and_is_kept_is_found() -> None:
    run = a_good_run()
    run.records.append(Refused(at=run.now(), client="ana-1", user="ana", command="c1", code="forbidden"))
    assert run.judged() == {Rule.REFUSED_KEPT}


def test_different_events_at_one_place_are_a_disagreement() -> None:
    run = a_good_run()
    index = index_of(run, gets("bob-1", "two"))
    record = run.records[index]
    assert isinstance(record, Delivered)
    run.records[index] = replace(record, event=replace(record.event, sender="ana", id="c3", text="three"))
    assert Rule.DISAGREEMENT in run.judged()


def test_one_message_at_two_places_is_a_disagreement() -> None:
    run = a_good_run()
    index = index_of(run, gets("bob-1", "five"))
    record = run.records[index]
    assert isinstance(record, Delivered)
    run.records[index] = replace(record, event=replace(record.event, seq=record.event.seq + 1))
    assert Rule.DISAGREEMENT in run.judged()


def test_a_read_without_what_was_acked_before_is_stale() -> None:
    run = a_good_run()
    index = index_of(run, lambda r: isinstance(r, HistoryRead))
    record = run.records[index]
    assert isinstance(record, HistoryRead)
    run.records[index] = replace(record, messages=record.messages[:-1])
    assert run.judged() == {Rule.STALE}


def test_a_deleted_message_that_is_there_again_is_resurrected() -> None:
    run = a_good_run()
    delete = run.invoke("ana-1", lambda new: Delete(id=new, room=ROOM, target=place(run.stored[0])))
    run.ack("ana-1", delete, run.store("ana-1", delete))
    run.settle()
    assert run.judged() == frozenset()
    before = run.page()
    history = [replace(before[0], deleted=None, text="one, mended"), *before[1:]]
    assert Rule.RESURRECTED in judge(run.records, {ROOM: history}).rules
    run.read("bob-1")
    read = run.records[-1]
    assert isinstance(read, HistoryRead)
    run.records[-1] = replace(read, messages=(history[0], *read.messages[1:]))
    assert run.judged() == {Rule.RESURRECTED}


def test_a_read_without_an_edit_that_was_acked_before_is_stale() -> None:
    run = a_good_run()
    run.read("bob-1")
    read = run.records[-1]
    assert isinstance(read, HistoryRead)
    first = replace(read.messages[0], text="one", edited=None, rev=read.messages[0].seq)
    run.records[-1] = replace(read, messages=(first, *read.messages[1:]))
    assert run.judged() == {Rule.STALE}


def test_an_event_of_a_room_that_was_not_subscribed_is_a_phantom() -> None:
    run = a_good_run()
    run.records.insert(0, Delivered(at=0.0, client="bob-1", event=run.stored[0]))
    assert Rule.PHANTOM in run.judged()
