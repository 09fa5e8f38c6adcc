"""What is asked of one room: its history, its acks, what each client has of it, the orders, and that events make it."""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence

from chatnode.protocol.events import MemberEvent, MessageEvent, StoredEvent
from chatnode.protocol.fold import Timeline
from chatnode.protocol.frames import Delete, Edit, Message, Position, Send, StoredCommand
from tests.oracle.case import Author, Case, Problem, Segment
from tests.oracle.effects import caused, essence, event_of, made_message, name, place, shown, spot, spots, timeless
from tests.oracle.log import Acked, HistoryRead, Refused, Subscribed, Unknown
from tests.oracle.pages import lacking
from tests.oracle.rules import Rule


class RoomTrial:
    def __init__(self, case: Case, room: str, history: Sequence[Message]) -> None:
        self._case = case
        self._room = room
        self._history = history
        self._kept = {message.position: message for message in history}
        self._segments = [segment for segment in case.segments if segment.room == room]
        self._acked = [acked for acked in case.all(Acked) if acked.room == room]
        self._seen: dict[Position, StoredEvent] = {}
        for segment in self._segments:
            for event in segment.events:
                self._seen.setdefault(place(event), event)
        self._places = self._places_of_commands()
        self._known = sorted(set(self._kept) | set(self._seen) | {acked.position for acked in self._acked})
        self._order = sorted(self._kept)

    def problems(self) -> Iterator[Problem]:
        found = [
            self._history_is_ordered_and_without_copies(),
            self._acks_are_true(),
            self._refusals_are_true(),
            self._everything_was_sent(),
            self._all_agree(),
            self._senders_order(),
            self._reads_are_fresh(),
            self._pages_are_whole(),
            self._fold(),
            *(self._segment(segment) for segment in self._segments),
        ]
        return (Problem(rule, self._room, what) for group in found for rule, what in group)

    def _places_of_commands(self) -> dict[Author, set[Position]]:
        places: dict[Author, set[Position]] = defaultdict(set)
        for message in self._history:
            places[message.sender, message.id].add(message.position)
        for position, event in self._seen.items():
            places[event.sender, event.id].add(position)
        return places

    # What the history is.

    def _history_is_ordered_and_without_copies(self) -> Iterator[tuple[Rule, str]]:
        authors: dict[Author, Position] = {}
        for before, message in zip([None, *self._history], self._history, strict=False):
            if before is not None and message.position <= before.position:
                yield Rule.REORDERED, f"the history has {spot(message.position)} behind {spot(before.position)}"
            first = authors.setdefault((message.sender, message.id), message.position)
            if first != message.position:
                yield (
                    Rule.DUPLICATED,
                    f"the history has {message.sender}'s {message.id} at {spot(first)} and {spot(message.position)}",
                )

    def _acks_are_true(self) -> Iterator[tuple[Rule, str]]:
        told: dict[Author, Position] = {}
        for acked in self._acked:
            author = (acked.user, acked.command)
            invoked = [record.command for _, record in self._case.invoked.get(author, ())]
            if not any(command.room == acked.room for command in invoked):
                yield Rule.FALSE_ACK, f"{acked.user}'s {acked.command} was acked and never sent here"
                continue
            if told.setdefault(author, acked.position) != acked.position:
                yield (
                    Rule.FALSE_ACK,
                    f"{acked.user}'s {acked.command} was acked at {spot(told[author])} and at {spot(acked.position)}",
                )
            places = self._places.get(author, set())
            if any(isinstance(command, Send) for command in invoked):
                kept = self._kept.get(acked.position)
                if kept is None and not places:
                    yield Rule.LOST, f"{acked.user}'s {acked.command}, acked at {spot(acked.position)}"
                elif kept is None or (kept.sender, kept.id) != author:
                    yield (
                        Rule.FALSE_ACK,
                        f"{acked.user}'s {acked.command} was acked at {spot(acked.position)}, is at {spots(places)}",
                    )
            elif places and places != {acked.position}:
                yield (
                    Rule.FALSE_ACK,
                    f"{acked.user}'s {acked.command} was acked at {spot(acked.position)}, was seen at {spots(places)}",
                )

    def _refusals_are_true(self) -> Iterator[tuple[Rule, str]]:
        for refused in self._case.all(Refused):
            author = (refused.user, refused.command)
            invoked = self._case.invoked.get(author, ())
            if refused.code != "id_reused" and len(invoked) == 1 and self._places.get(author):
                yield Rule.REFUSED_KEPT, f"{refused.user}'s {refused.command} was refused ({refused.code})"

    def _everything_was_sent(self) -> Iterator[tuple[Rule, str]]:
        for message in self._history:
            if message.notice is not None:
                continue
            sent = self._sent(message.sender, message.id)
            if not any(isinstance(command, Send) for command in sent):
                yield Rule.PHANTOM, f"the history has {message.sender}'s {message.id} at {spot(message.position)}"
            elif message.edited is None and message.deleted is None and not any(made_message(c, message) for c in sent):
                yield Rule.ALTERED, f"the history has {message.sender}'s {message.id} as {message.text!r}"
        as_sent: dict[int, bool] = {}
        """By the identity of an event: a long log holds each once for all who got it."""
        for index, delivered in self._case.delivered:
            event = delivered.event
            if event.room != self._room or isinstance(event, MemberEvent):
                continue
            invoked = self._case.invoked.get((event.sender, event.id), ())
            if not invoked:
                yield Rule.PHANTOM, f"{delivered.client} got {name(event)}"
                continue
            if index < min(position for position, _ in invoked):
                yield Rule.PREMATURE, f"{delivered.client} got {name(event)} before it was sent"
            if id(event) not in as_sent:
                as_sent[id(event)] = any(caused(record.command, event) for _, record in invoked)
            if not as_sent[id(event)]:
                yield Rule.ALTERED, f"{delivered.client} got {name(event)} other than it was sent"

    def _sent(self, user: str, command: str) -> list[StoredCommand]:
        return [record.command for _, record in self._case.invoked.get((user, command), ())]

    # What clients have.

    def _all_agree(self) -> Iterator[tuple[Rule, str]]:
        for segment in self._segments:
            for event in segment.events:
                other = self._seen[place(event)]
                if event is not other and essence(event) != essence(other):
                    yield Rule.DISAGREEMENT, f"{segment.client} got {name(event)}, another {name(other)}"
        for author, places in self._places.items():
            if len(places) > 1:
                yield Rule.DISAGREEMENT, f"{author[0]}'s {author[1]} is at {spots(places)}"
        for position, event in self._seen.items():
            if not isinstance(event, MessageEvent | MemberEvent):
                continue
            kept = self._kept.get(position)
            if kept is None:
                yield Rule.LOST, f"{name(event)} was delivered"
            elif (kept.sender, kept.id) != (event.sender, event.id):
                yield Rule.DISAGREEMENT, f"{name(event)} was delivered, the history has {kept.sender}'s {kept.id}"

    def _segment(self, segment: Segment) -> Iterator[tuple[Rule, str]]:
        yield from self._increases(segment)
        places = {place(event) for event in segment.events}
        paged = {message.position for message in segment.page or ()}
        if segment.page is not None:
            floor = min(paged, default=Position(0, 0))
            for position in _between(self._order, floor, segment.since):
                if position not in paged:
                    yield Rule.GAP, f"the page of {segment.client} lacks {spot(position)}"
        end = max([*places, segment.settled or segment.since])
        for position in _between(self._known, segment.since, end):
            if position != segment.since and position not in places and position not in paged:
                yield Rule.GAP, f"{segment.client} was never given {spot(position)}"
        if segment.settled == self._last() and segment.page is not None:
            yield from self._holds_the_history(segment, min(paged, default=Position(0, 0)))

    def _last(self) -> Position | None:
        return self._known[-1] if self._known else None

    def _increases(self, segment: Segment) -> Iterator[tuple[Rule, str]]:
        last = segment.since
        had = {(message.sender, message.id) for message in segment.page or ()}
        for event in segment.events:
            author = (event.sender, event.id)
            if author in had:
                yield Rule.DUPLICATED, f"{segment.client} got {name(event)} again"
            elif place(event) <= last:
                yield Rule.REORDERED, f"{segment.client} got {name(event)} after {spot(last)}"
            had.add(author)
            last = max(last, place(event))

    def _holds_the_history(self, segment: Segment, floor: Position) -> Iterator[tuple[Rule, str]]:
        timeline = Timeline(segment.page or ())
        for event in segment.events:
            timeline.apply(event)
        held = {message.position: shown(message) for message in timeline.messages()}
        for position, message in self._kept.items():
            if position >= floor and position in held and held[position] != shown(message):
                rule = Rule.WRONG_FOLD if bool(held[position].deleted) == bool(message.deleted) else Rule.RESURRECTED
                yield rule, f"{segment.client} holds {held[position]} at {spot(position)}, the history {shown(message)}"

    # Orders.

    def _senders_order(self) -> Iterator[tuple[Rule, str]]:
        last: dict[str, tuple[Position, str]] = {}
        acked = {(ack.user, ack.command): ack.position for ack in self._acked}
        firsts = sorted((group[0] for group in self._case.invoked.values() if len(group) == 1), key=lambda one: one[0])
        for _, invoked in firsts:
            author = (invoked.user, invoked.command.id)
            if invoked.command.room != self._room:
                continue
            at = acked.get(author) or min(self._places.get(author, ()), default=None)
            if at is None:
                continue
            before = last.get(invoked.client)
            if before is not None and at < before[0]:
                places = f"{spot(at)}, {spot(before[0])}"
                yield Rule.SENDER_ORDER, f"{invoked.client} sent {author[1]} after {before[1]}; they stand at {places}"
            else:
                last[invoked.client] = (at, author[1])

    def _reads_are_fresh(self) -> Iterator[tuple[Rule, str]]:
        pages: list[HistoryRead | Subscribed] = [read for read in self._case.all(HistoryRead) if read.newest]
        pages += [subscribed for subscribed in self._case.all(Subscribed) if not subscribed.recovered]
        for read in pages:
            if read.room != self._room or read.asked_at is None:
                continue
            paged = {message.position for message in read.messages}
            floor = min(paged, default=Position(0, 0))
            for acked in self._acked:
                if acked.at < read.asked_at and floor <= acked.position not in paged and acked.position in self._kept:
                    yield Rule.STALE, f"{read.client} read a page without {spot(acked.position)}, acked before"
        amended = [(acked, command) for acked in self._acked for command in self._amendments(acked)]
        for read in pages:
            if read.room != self._room or read.asked_at is None:
                continue
            shown_then = {message.position: message for message in read.messages}
            for acked, command in amended:
                message = shown_then.get(command.target)
                if message is None or message.deleted is not None or acked.at >= read.asked_at:
                    continue
                if isinstance(command, Delete):
                    yield Rule.RESURRECTED, f"{read.client} read {spot(command.target)}, whose delete was acked before"
                elif Position(message.rev_epoch or message.epoch, message.rev) < acked.position:
                    yield Rule.STALE, f"{read.client} read {spot(command.target)} without an edit that was acked before"

    def _pages_are_whole(self) -> Iterator[tuple[Rule, str]]:
        if self._all_known():
            pages = [page for page in self._case.all(Subscribed) if page.room == self._room and not page.recovered]
            yield from lacking(pages, self._events())

    def _amendments(self, acked: Acked) -> list[Edit | Delete]:
        sent = self._sent(acked.user, acked.command)
        return [command for command in sent if isinstance(command, Edit | Delete) and command.room == acked.room]

    # What events make.

    def _fold(self) -> Iterator[tuple[Rule, str]]:
        """Where every outcome is known, events seen and commands acked make the history."""
        if not self._all_known():
            return
        events = self._events()
        timeline = Timeline()
        for position in sorted(events):
            timeline.apply(events[position])
        for message in timeline.messages():
            kept = self._kept.get(message.position)
            if kept is not None and timeless(kept) != timeless(message):
                rule = Rule.RESURRECTED if message.deleted and not kept.deleted else Rule.WRONG_FOLD
                yield rule, f"events make {timeless(message)}, the history has {timeless(kept)}"

    def _all_known(self) -> bool:
        """Whether every outcome is."""
        return not any(self._sent_here(unknown) for unknown in self._case.all(Unknown))

    def _events(self) -> dict[Position, StoredEvent]:
        """All that somebody saw, and what was acked besides."""
        events = dict(self._seen)
        for acked in self._acked:
            made = self._event_of(acked)
            if made is not None:
                events.setdefault(acked.position, made)
        return events

    def _sent_here(self, unknown: Unknown) -> bool:
        return any(command.room == self._room for command in self._sent(unknown.user, unknown.command))

    def _event_of(self, acked: Acked) -> StoredEvent | None:
        for command in self._sent(acked.user, acked.command):
            if command.room == acked.room:
                return event_of(command, acked.user, acked.position)
        return None


def _between(positions: Sequence[Position], low: Position, high: Position) -> Sequence[Position]:
    """Of sorted positions those from ``low`` to ``high``, both included."""
    return positions[bisect_left(positions, low) : bisect_right(positions, high)]
