"""The verdict over a world that has come to rest: the oracle's, and what is asked besides."""

import re
from collections.abc import Iterator
from typing import Final

from chatnode.broker.subjects import partition_of, room_subject, stream_name
from chatnode.protocol.frames import Message
from tests.oracle.case import Problem
from tests.oracle.log import Acked, Delivered, Refused, Settled, Subscribed
from tests.oracle.rules import Rule
from tests.oracle.verdict import Verdict, judge
from tests.simulation.plan import COMMANDS
from tests.simulation.world import World

_WORD: Final = re.compile(r"[\w-]+")
PROMPT_S: Final = 3.5
"""Whoever follows a room gets what is stored within so long: interest is checked again after 1 s, after an election
at once, both at the hub's next tick; and a fetch takes its moment."""
_FOUND_BY_THE_NEXT_CHECK: Final = frozenset({"cut_node", "slow_interest"})
"""After a reconnect rooms are checked once, which may be before the other servers know of the interest."""
_UNDER_WAY_S: Final = 1.0
"""What was stored so long before a connection was cut may have been lost with it."""
_ON_ITS_WAY_S: Final = 0.1
"""What a node has written may arrive so much later."""
_QUICK: Final = frozenset(
    {
        *COMMANDS,
        "reuse",
        "elect",
        "cut_node",
        "lose_live",
        "lose_acks",
        "short_answers",
        "slow_interest",
        "slow_routes",
        "drop",
        "crash_client",
        "subscribe",
    }
    | {"offline", "half_open", "refuse_batches", "full", "kill_worker", "pause_worker"}
)
"""Actions after which what is stored still has to come soon."""
_UNTIL_RAISED: Final = frozenset({Rule.STALE, Rule.WRONG_FOLD, Rule.GAP, Rule.RESURRECTED})
"""What a stream that went back breaks until its epoch is raised (docs/simulation.md)."""


class Trial:
    def __init__(self, world: World) -> None:
        self._world = world

    def astray(self) -> set[str]:
        """Commands stored after a restore before the epoch was raised, or told under the old one until all had
        heard of the new one: their acks name a place of the old epoch. A known limit (docs/simulation.md)."""
        streams = [self._world.nats.stream(stream_name(partition)) for partition in self._world.partitions]
        stored = {
            entry.message_id.partition(":")[2]: entry
            for stream in streams
            if stream.went_back_in is not None
            for entry in stream.ever
            if entry.message_id is not None
        }
        found = {command for command, entry in stored.items() if entry.astray}
        raised = max((stream.raised_at for stream in streams if stream.went_back_in is not None), default=0.0)
        for record in self._world.log.records if stored else ():
            if record.at > raised + _ON_ITS_WAY_S:
                continue
            match record:
                case Acked(command=command, position=at) if command in stored and stored[command].epoch != at.epoch:
                    found.add(command)
                case Delivered(event=event) if event.id in stored and stored[event.id].epoch != event.epoch:
                    found.add(event.id)
                case _:
                    pass
        return found

    def late(self) -> Iterator[str]:
        """What somebody who followed all the time was given too late, where nothing excuses that."""
        kinds = {action.kind for action in self._world.plan.actions}
        if kinds - _QUICK or kinds >= _FOUND_BY_THE_NEXT_CHECK:
            return
        due = {
            (entry.epoch, entry.seq, room): entry.due
            for room in self._world.rooms
            for entry in self._world.nats.stream(stream_name(partition_of(room))).ever
            if entry.subject == room_subject(room)
        }
        since: dict[tuple[str, str], float] = {}
        for record in self._world.log.records:
            match record:
                case Subscribed(client=client, room=room, at=at):
                    since[client, room] = at
                case Delivered(client=client, event=event, at=at):
                    begun = since.get((client, event.room), at)
                    begun = max(begun, due.get((event.epoch, event.seq, event.room), at))
                    for cut_at, returned_at in self._world.nats.cuts:
                        if cut_at - _UNDER_WAY_S <= begun < returned_at:
                            begun = returned_at
                    if at > begun + PROMPT_S:
                        yield f"{client} got {event.seq} of {event.room} after {at - begun:.1f} s"

    def confused(self) -> Iterator[str]:
        """What was acked under the id of something else."""
        for command in self._world.reused:
            acks = [r for r in self._world.log.records if isinstance(r, Acked) and r.command == command]
            if len(acks) > 1:
                yield f"{command} was acked twice, as two things"

    def counts(self, problem: Problem, astray: set[str]) -> bool:
        """Whether a problem breaks a promise; what does not is a known limit (docs/simulation.md)."""
        went_back = any(stream.went_back_in is not None for stream in self._world.nats.streams.values())
        if went_back and problem.rule in _UNTIL_RAISED:
            return False
        if astray and (problem.rule is Rule.WRONG_FOLD or astray & set(_WORD.findall(problem.what))):
            return False
        if problem.rule is Rule.REFUSED_KEPT:
            # Published before the removal and stuck on its way: nobody can call it back.
            words = set(_WORD.findall(problem.what))
            refused = {
                r.command: r.at for r in self._world.log.records if isinstance(r, Refused) and r.command in words
            }
            return any(
                entry.message_id is not None
                and (command := entry.message_id.partition(":")[2]) in refused
                and entry.at < refused[command]
                for partition in self._world.partitions
                for entry in self._world.nats.stream(stream_name(partition)).ever
            )
        return True

    def history(self, room: str) -> list[Message]:
        """All of it, as :class:`chatnode.history.reader.MongoHistory` reads it."""
        from chatnode.history.reader import MongoHistory
        from chatnode.protocol.sealing import PlainSealer

        reader = MongoHistory(self._world.database, PlainSealer())  # type: ignore[arg-type]
        process = self._world.clock.process("reader", self._world.failures.append)
        self._world.database.away_until = -1.0
        found: list[Message] = []

        async def read() -> None:
            page = await reader.page(room, limit=1000)
            found.extend(page.messages)

        process.call_soon(lambda: process.create_task(read()))
        self._world.clock.run(self._world.clock.now + 0.1)
        return found

    def verdict(self) -> Verdict:
        for person in self._world.people:
            for room in person.rooms:
                self._world.log.add(
                    Settled(at=self._world.clock.now, client=person.name, room=room, upto=self._world.last(room))
                )
        return judge(self._world.log.records, {room: self.history(room) for room in self._world.rooms})
