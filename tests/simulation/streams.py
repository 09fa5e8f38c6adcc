"""Streams as their leader holds them: what is stored, what is refused, and what goes wrong on the way."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.simulation.broker import Nats

SERVERS = 3
CHECK_S = 10.0
"""How often nodes look for a lost last message."""
HEARD_S = 6.0
"""Who has not heard control for so long is suspended."""
FOUND_S = 2.0
"""How long nodes may take to look for what a new leader holds."""
WALL_0 = 1_700_000_000.0
"""The time of day when a history begins, in seconds."""

Headers = dict[str, str]

_DUPLICATE_IN_BATCH = {"code": 400, "err_code": 10201, "description": "atomic publish contains duplicate message id"}
_TOO_MANY_BATCHES = {"code": 429, "err_code": 10211, "description": "atomic publish too many inflight"}
_INCOMPLETE_BATCH = {"code": 400, "err_code": 10176, "description": "atomic publish batch is incomplete"}
_IN_PROCESS = {"code": 409, "err_code": 10158, "description": "duplicate message id is in process"}
_FULL = {"code": 503, "err_code": 10077, "description": "maximum bytes exceeded"}


@dataclass(slots=True)
class Entry:
    """One stored message."""

    seq: int
    subject: str
    data: bytes
    at: float
    """When it was committed."""
    message_id: str | None
    epoch: int
    astray: bool = False
    """Stored after the stream had gone back and before anybody knew: under a sequence that was used already."""
    due: float = 0.0
    """From then on whoever is there has to get it soon."""


@dataclass(slots=True)
class Staged:
    """One publish on its way through the leader."""

    subject: str
    data: bytes
    headers: Headers
    answer: Callable[[dict[str, object]], None] | None


def timestamp(at: float) -> str:
    """As JetStream writes it."""

    return datetime.fromtimestamp(WALL_0 + at, UTC).isoformat(timespec="microseconds")[:26] + "000Z"


class Stream:
    """One stream with its leader. ``window``: seconds in which a message id is known."""

    def __init__(self, nats: "Nats", name: str, window: float) -> None:
        self.nats = nats
        self.name = name
        self.window = window
        self.metadata: dict[str, str] = {"chat-epoch": "1"}
        self.entries: list[Entry] = []
        self.first_seq = 1
        self.last_seq = 0
        self.leader = 0
        self.leaderless = False
        self.exists = True
        self.went_back_in: int | None = None
        """The epoch in which it went back."""
        self.went_back_at = -1.0
        self.raised_at = math.inf
        """When all have heard of the epoch that it has, or are suspended."""
        self.closed = False
        self.full_until = -1.0
        self.batches_refused_until = -1.0
        self.lose_acks = 0
        self.lose_republishes = 0
        self.ids: dict[str, tuple[int, float]] = {}
        self.staged_ids: dict[str, float] = {}
        self.staged_subjects: dict[str, int] = {}
        self.ever: list[Entry] = []
        """All that was ever stored, for the checker."""
        self._committed_at = 0.0
        self._unshown: list[Entry] = []
        self._to_be_found: list[Entry] = []
        """What nobody was shown, and a new leader can tell since a moment."""
        self._batches: dict[str, list[Staged]] = {}
        self.watchers: list[Callable[[], None]] = []
        self.holes: dict[int, set[int]] = {}
        """What a server whose disk was damaged has lost, and does not say so."""

    @property
    def epoch(self) -> int:
        return int(self.metadata.get("chat-epoch", "0"))

    # Reading.

    def last_of(self, subject: str, horizon: float | None = None) -> Entry | None:
        for entry in reversed(self.entries):
            if entry.subject == subject and (horizon is None or entry.at <= horizon):
                return entry
        return None

    def at(self, seq: int) -> Entry | None:
        for entry in reversed(self.entries):
            if entry.seq == seq:
                return entry
            if entry.seq < seq:
                return None
        return None

    def held_by(self, server: int, entries: list[Entry]) -> list[Entry]:
        lost = self.holes.get(server)
        return [entry for entry in entries if entry.seq not in lost] if lost else entries

    def after(self, subject: str, seq: int, horizon: float) -> list[Entry]:
        """From ``seq`` on."""
        if subject.endswith(">"):
            return [entry for entry in self.entries if entry.seq >= seq and entry.at <= horizon]
        return [
            entry for entry in self.entries if entry.seq >= seq and entry.subject == subject and entry.at <= horizon
        ]

    # Storing.

    def publish(self, staged: Staged) -> None:
        """A publish has reached the leader."""
        if not self.exists:
            return
        headers = staged.headers
        batch = headers.get("Nats-Batch-Id")
        if batch is not None:
            self._batched(batch, staged)
            return
        refused = self._refusal(staged)
        if refused is not None:
            if staged.answer is not None:
                staged.answer(refused)
            return
        self._stage([staged])

    def _refusal(self, staged: Staged) -> dict[str, object] | None:
        now = self.nats.clock.now
        if self.closed or now < self.full_until:
            return {"error": _FULL}
        message_id = staged.headers.get("Nats-Msg-Id")
        if message_id is not None:
            if message_id in self.staged_ids:
                return {"error": _IN_PROCESS}
            known = self.ids.get(message_id)
            if known is not None and now - known[1] < self.window:
                return {"stream": self.name, "seq": known[0], "duplicate": True}
        expected = staged.headers.get("Nats-Expected-Last-Subject-Sequence")
        if expected is not None:
            last = self.last_of(staged.subject)
            held = 0 if last is None else last.seq
            if self.staged_subjects.get(staged.subject) or held != int(expected):
                return {"error": {"code": 400, "err_code": 10071, "description": f"wrong last sequence: {held}"}}
        return None

    def _batched(self, batch: str, staged: Staged) -> None:
        members = self._batches.setdefault(batch, [])
        members.append(staged)
        if "Nats-Batch-Commit" not in staged.headers:
            return
        del self._batches[batch]
        now = self.nats.clock.now
        refused: dict[str, object] | None = None
        if self.closed or now < self.full_until:
            refused = _FULL
        elif now < self.batches_refused_until:
            refused = _TOO_MANY_BATCHES
        elif [int(member.headers["Nats-Batch-Sequence"]) for member in members] != list(range(1, len(members) + 1)):
            refused = _INCOMPLETE_BATCH
        else:
            for member in members:
                message_id = member.headers["Nats-Msg-Id"]
                known = self.ids.get(message_id)
                if message_id in self.staged_ids or (known is not None and now - known[1] < self.window):
                    refused = _DUPLICATE_IN_BATCH
        if refused is None:
            self._stage(members)
        elif staged.answer is not None:
            staged.answer({"error": refused})

    def _stage(self, members: list[Staged]) -> None:
        clock = self.nats.clock
        for member in members:
            message_id = member.headers.get("Nats-Msg-Id")
            if message_id is not None:
                self.staged_ids[message_id] = clock.now
            self.staged_subjects[member.subject] = self.staged_subjects.get(member.subject, 0) + 1
        self._committed_at = max(clock.now + self.nats.draw(0.0005, 0.003), self._committed_at)
        clock.post(self._committed_at, None, self._commit, members)

    def _unstage(self, member: Staged) -> None:
        message_id = member.headers.get("Nats-Msg-Id")
        if message_id is not None:
            self.staged_ids.pop(message_id, None)
        left = self.staged_subjects.get(member.subject, 0) - 1
        if left > 0:
            self.staged_subjects[member.subject] = left
        else:
            self.staged_subjects.pop(member.subject, None)

    def _commit(self, members: list[Staged]) -> None:  # noqa: PLR0912  what may go wrong, in the order in which it does
        now = self.nats.clock.now
        if not self.exists:
            for member in members:
                self._unstage(member)
            return
        told = True
        shown = True
        if self.leaderless:
            # What was proposed before the leader went is applied while nobody leads, or never.
            fate = self.nats.chance.random()
            if fate < 0.35:
                for member in members:
                    self._unstage(member)
                return
            told = fate > 0.8
            shown = False
        for member in members:
            self._unstage(member)
            previous = self.last_of(member.subject)
            self.last_seq += 1
            message_id = member.headers.get("Nats-Msg-Id")
            entry = Entry(
                self.last_seq, member.subject, member.data, now, message_id, self.epoch, self.went_back_in == self.epoch
            )
            self.entries.append(entry)
            self.ever.append(entry)
            entry.due = now
            if entry.message_id is not None:
                self.ids[entry.message_id] = (entry.seq, now)
            if shown and self.lose_republishes <= 0:
                self.nats.republish(self, entry, 0 if previous is None else previous.seq)
            elif shown:
                self.lose_republishes -= 1
                entry.due = now + CHECK_S
            else:
                self._unshown.append(entry)
        for watcher in tuple(self.watchers):
            watcher()
        last = members[-1]
        if last.answer is None or not told:
            return
        if self.lose_acks > 0:
            self.lose_acks -= 1
            return
        ack: dict[str, object] = {"stream": self.name, "seq": self.last_seq}
        if len(members) > 1 or "Nats-Batch-Id" in last.headers:
            ack["batch"] = last.headers["Nats-Batch-Id"]
            ack["count"] = len(members)
        last.answer(ack)

    # What goes wrong.

    def lose_leader(self, seconds: float) -> None:
        if self.leaderless:
            return
        self.leaderless = True
        self._batches.clear()
        found_by = self.nats.clock.now - FOUND_S
        self._unshown.extend(entry for entry in self._to_be_found if entry.due > found_by)
        self.nats.clock.later(seconds, self._elect)

    def _elect(self) -> None:
        up = [server for server in range(SERVERS) if not self.nats.paused(server) and server not in self.holes]
        if not up:
            self.nats.clock.later(0.5, self._elect)
            return
        self.leaderless = False
        self.leader = self.nats.chance.choice(up)
        for entry in self._unshown:
            entry.due = self.nats.clock.now
        self._to_be_found, self._unshown = self._unshown, []
        self.nats.advise(self.name)

    def damage(self, server: int, count: int) -> None:
        """Up to ``count`` entries in a row are gone from one server that does not lead; never the last one, after which
        it would ask the leader for what follows."""
        if server == self.leader:
            server = (server + 1) % SERVERS
        if not self.holes and len(self.entries) > 1:
            start = self.nats.chance.randrange(len(self.entries) - 1)
            self.holes[server] = {
                entry.seq for entry in self.entries[start : min(start + count, len(self.entries) - 1)]
            }

    def purge_below(self, seq: int) -> int:
        kept = [entry for entry in self.entries if entry.seq >= seq]
        dropped = len(self.entries) - len(kept)
        self.entries = kept
        if seq > self.last_seq + 1:
            self.last_seq = seq - 1
        self.first_seq = max(self.first_seq, min(seq, self.last_seq + 1))
        return dropped

    def go_back(self, last: int) -> None:
        """As after a restore: everything above ``last`` is gone, metadata survive."""
        self.entries = [entry for entry in self.entries if entry.seq <= last]
        self.last_seq = last
        self.went_back_in = self.epoch
        self.went_back_at = self.nats.clock.now
        self.ids.clear()
        self._restarted()

    def lose(self) -> None:
        """Gone with all that it held, and its metadata."""
        self.exists = False
        self.entries = []
        self.ids.clear()
        self.last_seq = 0
        self.first_seq = 1
        self._restarted()

    def _restarted(self) -> None:
        """The servers were down for that: whoever was connected or fed is so no longer."""
        self.holes.clear()
        self.watchers.clear()
        for connection in tuple(self.nats.connections):
            connection.cut(self.nats.draw(0.1, 1.0))
