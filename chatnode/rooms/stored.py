"""What of commands is stored already, and of which messages they are: MongoDB up to the watermark, and the stream from
there on; together, everything (ARCHITECTURE §2.2).
"""

from collections.abc import Callable, Iterable, Sequence

import msgspec

from chatnode.protocol.envelope import Envelope, decode_envelope
from chatnode.protocol.frames import Position
from chatnode.rooms import refusals
from chatnode.rooms.ports import CommandRecord, HistoryReader, RoomLog, Stored
from chatnode.rooms.tail import tail_of


class Sought:
    """Which of some commands of one user are stored in a room up to ``upto``, and where.

    It stays true while the epoch lasts, since nothing comes to be stored below ``upto``: commands that wait in line
    share one look-up, and each one that is stored takes the others with it to its own place.
    """

    __slots__ = ("_found", "_sought", "epoch", "room", "upto", "user")

    def __init__(self, room: str, user: str, commands: Iterable[str], epoch: int) -> None:
        self.room = room
        self.user = user
        self.epoch = epoch
        self.upto = 0
        self._sought = set(commands)
        self._found: dict[str, CommandRecord] = {}

    def covers(self, command: str, epoch: int) -> bool:
        return epoch == self.epoch and command in self._sought

    def found(self, command: str) -> CommandRecord | None:
        return self._found.get(command)

    def recorded(self, records: Iterable[tuple[str, CommandRecord]]) -> None:
        self._found.update(records)

    def read(self, tail: Iterable[Stored], end: int) -> None:
        """``tail`` is everything of the room in ``(upto, end]``."""
        for stored in tail:
            envelope = readable(stored.data)
            if envelope is not None and envelope.user == self.user and envelope.id in self._sought:
                self._found.setdefault(envelope.id, record_of(envelope, self.epoch, stored.seq))
        self.upto = end

    def accepted(self, command: str, seq: int) -> None:
        """``command`` was stored at ``seq`` where ``upto`` was the room's last: nothing lies between."""
        self._sought.discard(command)
        self.upto = seq


class LookUps:
    """All raise :class:`Unavailable` where it cannot be told."""

    def __init__(self, log: RoomLog, history: HistoryReader, epoch_of: Callable[[int], int]) -> None:
        self._log = log
        self._history = history
        self._epoch_of = epoch_of

    def epoch(self, room: str) -> int:
        return self._epoch_of(self._log.partition_of(room))

    async def seek(self, room: str, user: str, commands: Sequence[str]) -> Sought:
        """Up to the room's end. The watermark is read before what is below it, the end after."""
        epoch = self.epoch(room)
        sought = Sought(room, user, commands, epoch)
        written = await self._history.watermark(self._log.partition_of(room))
        recorded = await self._history.commands([(user, command) for command in commands])
        sought.recorded((command, record) for (_, command), record in recorded.items())
        last = await self._log.last(room)
        end = 0 if last is None else last.seq
        start = written.seq if written is not None and written.epoch == epoch else 0
        sought.read(await tail_of(self._log, room, start, end), end)
        return sought

    async def go_on(self, sought: Sought) -> None:
        """To the room's end as it is by now."""
        last = await self._log.last(sought.room)
        end = sought.upto if last is None else last.seq
        sought.read(await tail_of(self._log, sought.room, sought.upto, end), end)

    async def at(self, room: str, user: str, command: str, seq: int) -> CommandRecord | None:
        """What NATS has stored at ``seq``, or what MongoDB has recorded of this command."""
        stored = await self._log.at(room, seq)
        envelope = None if stored is None else readable(stored.data)
        if envelope is not None:
            return record_of(envelope, self.epoch(room), seq)
        return (await self._history.commands([(user, command)])).get((user, command))

    async def target(self, room: str, position: Position) -> refusals.Target:
        """The message at a position: from the stream while it is there, else from history; or what tells that there is
        none."""
        if position.epoch == self.epoch(room):
            stored = await self._log.at(room, position.seq)
            if stored is not None:
                envelope = readable(stored.data)
                if envelope is None or envelope.kind != "message":
                    raise refusals.no_message(position)
                return refusals.Target(envelope.user, deleted=False)
        message = await self._history.message(room, position)
        if message is None or message.notice is not None:
            raise refusals.no_message(position)
        return refusals.Target(message.sender, message.deleted is not None)


def record_of(envelope: Envelope, epoch: int, seq: int) -> CommandRecord:
    return CommandRecord(envelope.room, epoch, seq, envelope.kind, envelope.digest, envelope.ts)


def readable(data: bytes) -> Envelope | None:
    try:
        return decode_envelope(data)
    except msgspec.DecodeError:
        return None
