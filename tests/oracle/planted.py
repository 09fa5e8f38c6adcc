"""Faults planted in a log that keeps the promises: a checker that misses one says nothing about other logs."""

from collections.abc import Callable, Sequence
from typing import Final

from msgspec.structs import replace

from chatnode.protocol.events import StoredEvent
from chatnode.protocol.fold import Timeline
from chatnode.protocol.frames import Delete, Message, Position, Send, StoredCommand
from tests.oracle.effects import event_of
from tests.oracle.log import Acked, Delivered, HistoryRead, Invoked, Record, Settled, Subscribed
from tests.oracle.rules import Rule
from tests.oracle.verdict import judge

_ROOM: Final = "planted"
_PEOPLE: Final = ("ana", "bob", "eve")
_SENDS: Final = 12

Log = tuple[list[Record], list[Message]]
Plant = Callable[[list[Record], list[Message]], Log]


def plant_all() -> dict[str, bool]:
    """By the name of each planted fault whether it was found: none of them, where the good log itself is not passed."""
    good = _rules(_good_log()) == frozenset()
    return {name: good and rule in _rules(plant(*_good_log())) for name, (plant, rule) in _PLANTS.items()}


def _rules(log: Log) -> frozenset[Rule]:
    records, history = log
    return judge(records, {_ROOM: history}).rules


def _good_log() -> Log:
    records: list[Record] = []
    stored: list[StoredEvent] = []

    def now() -> float:
        return float(len(records))

    def store(user: str, command: StoredCommand) -> None:
        records.append(Invoked(at=now(), client=user, user=user, command=command))
        at = Position(1, len(stored) + 1)
        stored.append(event_of(command, user, at, ts=len(stored), prev=len(stored)))
        records.extend(Delivered(at=now(), client=client, event=stored[-1]) for client in _PEOPLE)
        records.append(Acked(at=now(), client=user, user=user, command=command.id, room=_ROOM, position=at))

    begin = Position(1, 0)
    records.extend(
        Subscribed(at=now(), client=client, room=_ROOM, recovered=False, since=begin, asked_at=None)
        for client in _PEOPLE
    )
    for number in range(_SENDS):
        user = _PEOPLE[number % len(_PEOPLE)]
        store(user, Send(id=f"c{number}", room=_ROOM, text=f"message {number}"))
    store("ana", Delete(id="gone", room=_ROOM, target=Position(1, 1)))
    timeline = Timeline()
    for event in stored:
        timeline.apply(event)
    history = list(timeline.messages())
    records.extend(Settled(at=now(), client=client, room=_ROOM, upto=Position(1, len(stored))) for client in _PEOPLE)
    records.append(
        HistoryRead(
            at=now() + 1,
            client="ana",
            room=_ROOM,
            messages=tuple(history),
            newest=True,
            oldest=True,
            asked_at=now() + 0.5,
        )
    )
    return records, history


def _deliveries(records: Sequence[Record], client: str) -> list[int]:
    return [n for n, record in enumerate(records) if isinstance(record, Delivered) and record.client == client]


def _without(part: slice) -> Plant:
    def plant(records: list[Record], history: list[Message]) -> Log:
        gone = {message.position for message in history[part]}
        return records, [message for message in history if message.position not in gone]

    return plant


def _copy_in_history(records: list[Record], history: list[Message]) -> Log:
    return records, [*history, replace(history[3], seq=99)]


def _delivered_twice(records: list[Record], history: list[Message]) -> Log:
    at = _deliveries(records, "bob")[4]
    return [*records[: at + 1], records[at], *records[at + 1 :]], history


def _turned_round(records: list[Record], history: list[Message]) -> Log:
    one, other = _deliveries(records, "bob")[4:6]
    records[one], records[other] = records[other], records[one]
    return records, history


def _invented(records: list[Record], history: list[Message]) -> Log:
    return records, [*history, replace(history[-1], seq=99, id="ghost")]


def _left_out(records: list[Record], history: list[Message]) -> Log:
    del records[_deliveries(records, "eve")[5]]
    return records, history


def _end_left_out(records: list[Record], history: list[Message]) -> Log:
    del records[_deliveries(records, "eve")[-1]]
    return records, history


def _stale(records: list[Record], history: list[Message]) -> Log:
    read = records[-1]
    if isinstance(read, HistoryRead):
        records[-1] = replace(read, messages=read.messages[:-1])
    return records, history


def _back_again(records: list[Record], history: list[Message]) -> Log:
    return records, [replace(history[0], deleted=None, text="message 0"), *history[1:]]


def _page_behind_its_place(records: list[Record], history: list[Message]) -> Log:
    """Whoever came back is given a page that says to be as new as the delete, and shows what it deleted."""
    upto = max(record.upto for record in records if isinstance(record, Settled))
    page = (replace(history[0], deleted=None, text="message 0"), *history[1:])
    at = records[-1].at + 1
    given = Subscribed(at=at, client="eve", room=_ROOM, recovered=False, since=upto, messages=page)
    return [*records, given], history


def _other_words(records: list[Record], history: list[Message]) -> Log:
    return records, [*history[:4], replace(history[4], text="else"), *history[5:]]


_PLANTS: Final[dict[str, tuple[Plant, Rule]]] = {
    "lost prefix": (_without(slice(0, 3)), Rule.LOST),
    "lost middle": (_without(slice(5, 6)), Rule.LOST),
    "lost postfix": (_without(slice(-2, None)), Rule.LOST),
    "copy in history": (_copy_in_history, Rule.DUPLICATED),
    "delivered twice": (_delivered_twice, Rule.DUPLICATED),
    "reordered": (_turned_round, Rule.REORDERED),
    "phantom": (_invented, Rule.PHANTOM),
    "altered": (_other_words, Rule.ALTERED),
    "gap": (_left_out, Rule.GAP),
    "gap at the end": (_end_left_out, Rule.GAP),
    "stale read": (_stale, Rule.STALE),
    "resurrected": (_back_again, Rule.RESURRECTED),
    "page behind its place": (_page_behind_its_place, Rule.RESURRECTED),
}
