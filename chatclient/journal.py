"""What an outbox file says, line by line, and what follows from it. Pure.

Each line is the CRC-32 of a record, as eight hexadecimal digits, a space, the record as JSON, and a line feed. A last
line without its line feed was torn by a crash, and counts as never written.
"""

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import msgspec
from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from chatclient.answers import Ack
from chatnode.protocol.frames import StoredCommand

OUTCOMES_S: Final = 600.0
"""For how long an outcome is kept for whoever else waits for it."""
OUTCOMES_MAX: Final = 2_000


class Owned(Struct, tag="owned", frozen=True):
    """Whose commands these are."""

    user: str


class Put(Struct, tag="put", frozen=True):
    at: float
    command: StoredCommand


class Done(Struct, tag="done", frozen=True):
    """Acknowledged."""

    at: float
    id: str
    room: str
    epoch: int
    seq: int
    ts: int

    @property
    def ack(self) -> Ack:
        return Ack(self.id, self.room, self.epoch, self.seq, self.ts)


class Denied(Struct, tag="denied", frozen=True):
    """Refused for good; kept until its owner has it sent again or deletes it."""

    at: float
    id: str
    code: str
    message: str
    field: str | UnsetType = UNSET


class Retried(Struct, tag="retried", frozen=True):
    at: float
    id: str


class Deleted(Struct, tag="deleted", frozen=True):
    at: float
    id: str


Entry = Owned | Put | Done | Denied | Retried | Deleted
Outcome = Done | Denied | Deleted

_ENTRIES: Final[msgspec.json.Decoder[Entry]] = msgspec.json.Decoder(Entry)
_ENCODER: Final = msgspec.json.Encoder()


class Corrupt(Exception):
    """A whole line that nobody wrote so."""


def encode_line(entry: Entry) -> bytes:
    data = _ENCODER.encode(entry)
    return b"%08x %b\n" % (zlib.crc32(data), data)


def decode_lines(data: bytes) -> tuple[list[Entry], int]:
    """The entries of the whole lines, and how many bytes these are."""
    whole = data.rfind(b"\n") + 1
    return [_decode_line(line) for line in data[:whole].splitlines()], whole


def _decode_line(line: bytes) -> Entry:
    check, _, data = line.partition(b" ")
    try:
        if int(check, 16) == zlib.crc32(data):
            return _ENTRIES.decode(data)
    except (ValueError, msgspec.DecodeError) as error:
        raise Corrupt(f"not an entry: {line[:80]!r}: {error}") from error
    raise Corrupt(f"its checksum is not that of its words: {line[:80]!r}")


@dataclass(frozen=True, slots=True)
class Unsent:
    """A command without an ack. ``denied`` says why it waits for its owner; else it is on its way."""

    command: StoredCommand
    since: float
    """Seconds since 1970 UTC."""
    denied: Denied | None = None


class Journal:
    """What is unsent, in the order in which it is to be sent, and what became of the rest lately."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self.owner: str | None = None
        self.unsent: dict[str, Unsent] = {}
        self.outcomes: dict[str, Outcome] = {}
        for entry in entries:
            self.apply(entry)

    def apply(self, entry: Entry) -> None:
        """What is about a command that is not unsent any more changes nothing."""
        match entry:
            case Owned(user):
                self.owner = user
            case Put(at, command):
                if command.id not in self.unsent and command.id not in self.outcomes:
                    self.unsent[command.id] = Unsent(command, at)
            case Denied(id=command_id):
                unsent = self.unsent.get(command_id)
                if unsent is not None:
                    self.unsent[command_id] = Unsent(unsent.command, unsent.since, entry)
                    self._note(entry)
            case Retried(id=command_id):
                unsent = self.unsent.get(command_id)
                if unsent is not None and unsent.denied is not None:
                    # At the end: what was sent since then stands before it in the room.
                    del self.unsent[command_id]
                    self.outcomes.pop(command_id, None)
                    self.unsent[command_id] = Unsent(replace(unsent.command, again=True), unsent.since)
            case Done() | Deleted():
                if self.unsent.pop(entry.id, None) is not None or entry.id not in self.outcomes:
                    self._note(entry)

    def compacted(self, now: float) -> list[Entry]:
        """Entries that say as much as matters still."""
        entries: list[Entry] = [] if self.owner is None else [Owned(self.owner)]
        over = [outcome for outcome in self.outcomes.values() if outcome.id not in self.unsent]
        entries += [outcome for outcome in over if now - outcome.at < OUTCOMES_S]
        for unsent in self.unsent.values():
            entries.append(Put(unsent.since, unsent.command))
            if unsent.denied is not None:
                entries.append(unsent.denied)
        return entries

    def _note(self, outcome: Outcome) -> None:
        self.outcomes[outcome.id] = outcome
        if len(self.outcomes) > OUTCOMES_MAX:
            del self.outcomes[next(iter(self.outcomes))]
