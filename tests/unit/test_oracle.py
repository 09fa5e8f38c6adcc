"""The oracle passes every run that keeps the promises, and says no to each way of breaking one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from chatnode.protocol.events import DeleteEvent, EditEvent, MessageEvent, ReactionEvent, StoredEvent
from chatnode.protocol.fold import Timeline
from chatnode.protocol.frames import Delete, Edit, Message, Position, React, Send, StoredCommand
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
    Unknown,
    decode_records,
    encode_record,
    judge,
)
from tests.oracle.effects import event_of, place
from tests.oracle.log import merge

ROOM = "r"
CLIENTS = {"ana-1": "ana", "ana-2": "ana", "bob-1": "bob"}


@dataclass
class Run:
    """A cluster that keeps its promises, as a value: what it stored, and the log of what its clients saw."""

    stored: list[StoredEvent] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    delivered: dict[str, int] = field(default_factory=dict)
    """Client → how many of the stored events it has, or were in its page."""
    epoch: int = 1
    commands: int = 0

    def now(self) -> float:
        return float(len(self.records))

    def page(self, limit: int = 1_000) -> tuple[Message, ...]:
        timeline = Timeline()
        for event in self.stored:
            timeline.apply(event)
        return timeline.messages()[-limit:]

    def head(self) -> Position:
        return place(self.stored[-1]) if self.stored else Position(1, 0)

    def invoke(self, client: str, make: Callable[[str], StoredCommand]) -> StoredCommand:
        self.commands += 1
        command = make(f"c{self.commands}")
        self.records.append(Invoked(at=self.now(), client=client, user=CLIENTS[client], command=command))
        return command

    def begin(self, client: str, text: str) -> StoredCommand:
        return self.invoke(client, lambda new: Send(id=new, room=ROOM, text=text))

    def store(self, client: str, command: StoredCommand) -> Position:
        seq = self.stored[-1].seq if self.stored else 0
        event = event_of(command, CLIENTS[client], Position(self.epoch, seq + 2), ts=1_000 + seq, prev=seq)
        self.stored.append(event)
        return place(event)

    def ack(self, client: str, command: StoredCommand, at: Position) -> None:
        self.records.append(
            Acked(at=self.now(), client=client, user=CLIENTS[client], command=command.id, room=ROOM, position=at)
        )

    def refuse(self, client: str, command: StoredCommand) -> None:
        record = Refused(at=self.now(), client=client, user=CLIENTS[client], command=command.id, code="forbidden")
        self.records.append(record)

    def give_up(self, client: str, command: StoredCommand) -> None:
        self.records.append(Unknown(at=self.now(), client=client, user=CLIENTS[client], command=command.id))

    def send(self, client: str, text: str = "hello") -> Position:
        command = self.begin(client, text)
        at = self.store(client, command)
        self.ack(client, command, at)
        return at

    def subscribe(self, client: str, limit: int = 1_000, *, asked: bool = True) -> None:
        asked_at = self.now() + 0.5 if asked else None
        self.records.append(
            Subscribed(
                at=self.now() + 0.6,
                client=client,
                room=ROOM,
                recovered=False,
                since=self.head(),
                messages=self.page(limit),
                asked_at=asked_at,
            )
        )
        self.delivered[client] = len(self.stored)

    def resume(self, client: str) -> None:
        had = self.delivered[client]
        since = place(self.stored[had - 1]) if had else Position(1, 0)
        self.records.append(Subscribed(at=self.now(), client=client, room=ROOM, recovered=True, since=since))

    def deliver(self, client: str) -> None:
        if client in self.delivered and self.delivered[client] < len(self.stored):
            event = self.stored[self.delivered[client]]
            self.records.append(Delivered(at=self.now(), client=client, event=event))
            self.delivered[client] += 1

    def read(self, client: str, limit: int = 1_000) -> None:
        self.records.append(
            HistoryRead(
                at=self.now() + 0.6,
                client=client,
                room=ROOM,
                messages=self.page(limit),
                newest=True,
                oldest=False,
                asked_at=self.now() + 0.5,
            )
        )

    def settle(self) -> None:
        for client in self.delivered:
            while self.delivered[client] < len(self.stored):
                self.deliver(client)
            self.records.append(Settled(at=self.now(), client=client, room=ROOM, upto=self.head()))

    def judged(self) -> frozenset[Rule]:
        return judge(self.records, {ROOM: self.page()}).rules


@st.composite
def runs(draw: st.DrawFn) -> Run:
    run = Run()
    clients = st.sampled_from(sorted(CLIENTS))
    for _ in range(draw(st.integers(0, 40))):
        client = draw(clients)
        match draw(
            st.sampled_from(["command", "command", "deliver", "deliver", "subscribe", "resume", "read", "epoch"])
        ):
            case "command":
                command = run.invoke(client, draw(commands(run)))
                match draw(st.sampled_from(["acked", "acked", "acked", "refused", "lost", "kept"])):
                    case "acked":
                        run.ack(client, command, run.store(client, command))
                    case "refused":
                        run.refuse(client, command)
                    case "lost":
                        run.give_up(client, command)
                    case _:
                        run.store(client, command)
                        run.give_up(client, command)
            case "deliver":
                run.deliver(client)
            case "subscribe":
                run.subscribe(client, draw(st.sampled_from([2, 1_000])), asked=draw(st.booleans()))
            case "resume" if client in run.delivered:
                run.resume(client)
            case "read":
                run.read(client, draw(st.sampled_from([2, 1_000])))
            case "epoch":
                run.epoch += draw(st.integers(0, 1))
            case _:
                pass
    run.settle()
    return run


def commands(run: Run) -> st.SearchStrategy[Callable[[str], StoredCommand]]:
    targets = [place(event) for event in run.stored if isinstance(event, MessageEvent)] or [Position(1, 999)]
    target = st.sampled_from(targets)
    return st.one_of(
        st.builds(lambda text: lambda new: Send(id=new, room=ROOM, text=text), st.sampled_from(["a", "b"])),
        st.builds(lambda at: lambda new: Send(id=new, room=ROOM, text="re", reply_to=at, mentions=("bob",)), target),
        st.builds(lambda at: lambda new: Edit(id=new, room=ROOM, target=at, text=f"edit {new}"), target),
        st.builds(lambda at: lambda new: Delete(id=new, room=ROOM, target=at), target),
        st.builds(
            lambda at, on: lambda new: React(id=new, room=ROOM, target=at, emoji="+1", on=on), target, st.booleans()
        ),
    )


@given(runs())
def test_a_run_that_keeps_the_promises_passes(run: Run) -> None:
    assert str(judge(run.records, {ROOM: run.page()})).startswith("all promises kept")


@given(runs())
def test_a_log_survives_a_file(run: Run) -> None:
    assert list(decode_records(encode_record(record) for record in run.records)) == run.records
    assert merge(run.records, []) == sorted(run.records, key=lambda record: record.at)


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


@given(runs(), st.data())
@settings(max_examples=200)
def test_a_fault_anywhere_in_any_run_is_found(run: Run, data: st.DataObject) -> None:
    """Leave one acked message out of the history, or one delivery out of what a settled client got."""
    acked = {record.command for record in run.records if isinstance(record, Acked)}
    kept = [message for message in run.page() if message.id in acked]
    firsts = {r.event.id: i for i, r in enumerate(run.records) if isinstance(r, Delivered) and counts(run, i)}
    if kept and data.draw(st.booleans()):
        lost = data.draw(st.sampled_from(kept))
        history = [message for message in run.page() if message != lost]
        assert Rule.LOST in judge(run.records, {ROOM: history}).rules
    elif firsts:
        gone = data.draw(st.sampled_from(sorted(firsts.values())))
        records = [record for index, record in enumerate(run.records) if index != gone]
        assert Rule.GAP in judge(records, {ROOM: run.page()}).rules


def counts(run: Run, index: int) -> bool:
    """Whether somebody else, an ack or the history knows of this event, so that leaving it out here is a gap."""
    record = run.records[index]
    assert isinstance(record, Delivered)
    begins_anew = any(
        isinstance(later, Subscribed) and later.client == record.client and not later.recovered
        for later in run.records[index:]
    )
    kept = isinstance(record.event, MessageEvent)
    acked = any(isinstance(other, Acked) and other.command == record.event.id for other in run.records)
    return not begins_anew and (kept or acked) and not isinstance(record.event, DeleteEvent)
