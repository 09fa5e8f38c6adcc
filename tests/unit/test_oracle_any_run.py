"""Whatever a cluster that keeps its promises does passes, and a fault planted anywhere in it is found."""

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from chatnode.protocol.events import DeleteEvent, MessageEvent
from chatnode.protocol.frames import Delete, Edit, Position, React, Send, StoredCommand
from tests.oracle import (
    Acked,
    Delivered,
    Rule,
    Subscribed,
    decode_records,
    encode_record,
    judge,
)
from tests.oracle.effects import place
from tests.oracle.log import merge
from tests.unit.oracle_run import CLIENTS, ROOM, Run


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
