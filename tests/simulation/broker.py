"""NATS as the adapters of :mod:`chatnode.broker` see it: a client of one server, three servers, streams with leaders.

What misbehaves does so because it was measured (ARCHITECTURE §2, §3; docs/chaos.md): publishes that come out long after
they were given up, acks that are lost, events stored while nobody leads and never republished, replicas that lag,
answers that stop short, interest that takes a moment, batches refused whole.
"""

import functools
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from msgspec import Struct

from tests.simulation.connection import Connection
from tests.simulation.streams import SERVERS, Entry, Headers, Staged, Stream, timestamp
from tests.simulation.virtual_time import GRID_S, Clock

_NO_MESSAGE = b'{"error":{"code":404,"err_code":10037,"description":"no message found"}}'
_NO_STREAM = b'{"error":{"code":404,"err_code":10059,"description":"stream not found"}}'


_SLOW_ROUTE_S: Final = 0.08


class Query(Struct):
    seq: int = 0
    next_by_subj: str = ""
    last_by_subj: str = ""
    batch: int = 0


_QUERIES = msgspec.json.Decoder(Query)


@dataclass
class Server:
    paused_until: float = -1.0
    frozen_at: float | None = None
    """Since when it has applied nothing."""
    stuck: list[Callable[[], None]] = field(default_factory=list)


class Nats:
    """Three servers, streams, and everybody who is connected."""

    def __init__(self, clock: Clock, chance: random.Random, window: float) -> None:
        self.clock = clock
        self.chance = chance
        self.window = window
        self.servers = [Server() for _ in range(SERVERS)]
        self.streams: dict[str, Stream] = {}
        self.connections: list[Connection] = []
        self.slow_interest_until = -1.0
        self.short_answers_until = -1.0
        self.slow_routes_until = -1.0
        self.looked: Callable[[Connection], None] | None = None
        """Told whose question about a room's last message is answered."""
        self.cuts: list[tuple[float, float]] = []
        """From when to when somebody was not connected, by when that ended."""
        self._routes: dict[tuple[int, int], float] = {}

    def draw(self, low: float, high: float) -> float:
        return low + (high - low) * self.chance.random()

    def arrival(self) -> float:
        """When something that is sent now arrives."""
        at = self.clock.now + 0.0002 + 0.0028 * self.chance.random()
        return (int(at / GRID_S) + 1) * GRID_S

    def over_route(self, origin: int, server: int) -> float:
        """When a message from another server reaches one, while routes are slow; in order on each."""
        at = self.clock.now + self.draw(0.0, _SLOW_ROUTE_S)
        at = self._routes[origin, server] = max(at, self._routes.get((origin, server), 0.0))
        return at

    def stream(self, name: str) -> Stream:
        if name not in self.streams:
            self.streams[name] = Stream(self, name, self.window)
        return self.streams[name]

    # Servers.

    def paused(self, server: int) -> bool:
        return self.clock.now < self.servers[server].paused_until

    def pause(self, server: int, seconds: float) -> None:
        held = self.servers[server]
        if self.paused(server):
            return
        held.paused_until = self.clock.now + seconds
        held.frozen_at = self.clock.now
        self.clock.later(seconds, self._resume, server)
        for stream in self.streams.values():
            if stream.leader == server:
                stream.lose_leader(self.draw(0.5, 2.0))
        for connection in tuple(self.connections):
            if connection.server == server:
                self.clock.later(self.draw(2.0, 12.0), self._notice, connection, server, connection.life)

    def _notice(self, connection: Connection, server: int, life: int) -> None:
        """Pings were not answered."""
        if self.paused(server) and connection.life == life:
            connection.cut(0.3)

    def _resume(self, server: int) -> None:
        held = self.servers[server]
        held.paused_until = -1.0
        # For a moment it answers as if nothing had come after what it has.
        self.clock.later(self.draw(0.02, 0.3), self._caught_up, server)
        stuck, held.stuck = held.stuck, []
        for action in stuck:
            action()

    def _caught_up(self, server: int) -> None:
        if not self.paused(server):
            self.servers[server].frozen_at = None

    def freeze(self, server: int, seconds: float) -> None:
        """It answers, but applies nothing for a while."""
        if self.servers[server].frozen_at is None:
            self.servers[server].frozen_at = self.clock.now
            self.clock.later(seconds, self._caught_up, server)

    def at_server(self, server: int, action: Callable[..., None], *args: Any) -> None:
        if self.clock.now < self.servers[server].paused_until:
            self.servers[server].stuck.append(functools.partial(action, *args))
        else:
            action(*args)

    # Messages.

    def republish(self, stream: Stream, entry: Entry, previous: int) -> None:
        headers = {"Nats-Sequence": str(entry.seq), "Nats-Last-Sequence": str(previous)}
        subject = f"live.{entry.subject[5:]}" if entry.subject.startswith("chat.") else f"live.{entry.subject}"
        for connection in self.connections:
            connection.hear(subject, entry.data, headers, stream.leader)

    def advise(self, stream: str) -> None:
        for connection in self.connections:
            connection.hear(f"$JS.EVENT.ADVISORY.STREAM.LEADER_ELECTED.{stream}", b"{}", None, None)

    def handle(
        self,
        asker: Connection,
        subject: str,
        payload: bytes,
        headers: Headers,
        answer: Callable[[bytes, Headers | None], None] | None,
    ) -> None:
        """A message has reached the server of its sender, as which one it is connected to by now."""
        server = asker.server
        if subject.startswith(("chat.", "ctl.")):
            self._publish(server, subject, payload, headers, answer)
        elif subject.startswith("$JS.API.DIRECT.GET."):
            if answer is not None:
                self._direct_get(subject[19:], payload, answer)
        elif subject.startswith("$JS.API.STREAM."):
            if answer is not None:
                self._ask(server, subject[15:], payload, answer)
                if self.looked is not None:
                    self.looked(asker)
        else:
            for connection in self.connections:
                connection.hear(subject, payload, headers or None, server)

    def _publish(
        self,
        server: int,
        subject: str,
        payload: bytes,
        headers: Headers,
        answer: Callable[[bytes, Headers | None], None] | None,
    ) -> None:
        stream = self.streams.get(headers.get("Nats-Expected-Stream", ""))
        if stream is None or not stream.exists:
            if answer is not None:
                answer(b"503", None)
            return
        tell = None if answer is None else lambda ack: answer(msgspec.json.encode(ack), None)
        staged = Staged(subject, payload, headers, tell)
        if stream.leaderless:
            # Before the old leader knows that it leads no longer, it takes things in; afterwards nobody does.
            if self.chance.random() < 0.4:
                stream.publish(staged)
            elif answer is not None and self.chance.random() < 0.3:
                answer(b"503", None)
            return
        if stream.leader == server:
            stream.publish(staged)
        else:
            route = (server, stream.leader)
            at = self._routes[route] = max(self.arrival(), self._routes.get(route, 0.0))
            self.clock.post(at, None, self._relayed, stream, staged)

    def _relayed(self, stream: Stream, staged: Staged) -> None:
        self.at_server(stream.leader, stream.publish, staged)

    def _horizon(self, stream: Stream, server: int) -> float:
        """Up to which moment a server has applied the stream."""
        frozen = self.servers[server].frozen_at
        if frozen is not None:
            return frozen
        if server == stream.leader:
            return self.clock.now
        return self.clock.now - 0.004 * self.chance.random()

    def _direct_get(self, name: str, payload: bytes, answer: Callable[[bytes, Headers | None], None]) -> None:
        stream = self.streams.get(name)
        if stream is None or not stream.exists:
            answer(b"", {"Status": "503"})
            return
        up = [server for server in range(SERVERS) if not self.paused(server)]
        if not up:
            return
        query = _QUERIES.decode(payload)
        server = self.chance.choice(up)
        found = stream.held_by(server, stream.after(query.next_by_subj, query.seq, self._horizon(stream, server)))
        short = self.clock.now < self.short_answers_until
        if not found or (short and self.chance.random() < 0.3):
            answer(b"", {"Status": "404", "Description": "Message Not Found"})
            return
        given = found[: query.batch]
        if short and len(given) > 1:
            given = given[: self.chance.randrange(1, len(given))]
        for entry in given:
            answer(
                entry.data,
                {
                    "Nats-Subject": entry.subject,
                    "Nats-Sequence": str(entry.seq),
                    "Nats-Time-Stamp": timestamp(entry.at),
                },
            )
        answer(b"", {"Status": "204", "Nats-Num-Pending": str(len(found) - len(given))})

    def _ask(
        self, server: int, operation: str, payload: bytes, answer: Callable[[bytes, Headers | None], None]
    ) -> None:
        """The API of a stream, which its leader answers."""
        kind, _, name = operation.rpartition(".")
        stream = self.streams.get(name)
        if stream is None or not stream.exists:
            answer(_NO_STREAM, None)
            return
        if stream.leaderless:
            return
        self.at_server(stream.leader, self._tell, stream, kind, payload, answer)

    def _tell(self, stream: Stream, kind: str, payload: bytes, answer: Callable[[bytes, Headers | None], None]) -> None:
        if kind == "INFO":
            told: dict[str, object] = {
                "state": {"first_seq": stream.first_seq, "last_seq": stream.last_seq},
                "config": {"metadata": stream.metadata},
            }
            answer(msgspec.json.encode(told), None)
            return
        query = _QUERIES.decode(payload)
        if query.next_by_subj:
            entry = next(iter(stream.after(query.next_by_subj, query.seq, self.clock.now)), None)
        else:
            entry = stream.last_of(query.last_by_subj) if query.last_by_subj else stream.at(query.seq)
        if entry is None:
            answer(_NO_MESSAGE, None)
            return
        message = {"subject": entry.subject, "seq": entry.seq, "time": timestamp(entry.at), "data": entry.data}
        answer(msgspec.json.encode({"message": message}), None)
