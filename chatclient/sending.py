"""An outbox file and the machine: who leads sends what is in the file, whoever wrote it."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from msgspec import UNSET
from msgspec.structs import replace

from chatclient.answers import Ack, stored
from chatclient.errors import Ended, OutboxFailed, OutboxFull, Refused, Withdrawn
from chatclient.journal import Deleted, Denied, Done, Entry, Journal, Owned, Put, Retried, Unsent
from chatclient.outbox_file import OutboxFile
from chatclient.outputs import Reject, Settle
from chatnode.protocol import frames
from chatnode.protocol.frames import StoredCommand

READ_S: Final = 0.2
"""How soon a process sees what another one wrote."""
UNSENT_MAX: Final = 10_000
ENTRIES_MIN: Final = 1_000
"""Fewer new entries are not worth writing the file anew."""


_Queued = tuple[Entry, asyncio.Future[None] | None]
"""An entry to be written, and who waits until it is on the disk."""


class Sender(Protocol):
    """What the outbox needs of the client that it sends through."""

    def store(self, command: StoredCommand) -> None: ...

    def withdraw(self, command: str) -> None:
        """Never send it again."""

    def answer(self, outcome: Settle | Reject) -> None:
        """Tell whoever waits for it here."""

    def fail(self, error: Ended) -> None: ...


class Sending:
    """To be run by one task; other calls come from the same loop."""

    def __init__(self, path: Path, sender: Sender, wall: Callable[[], float]) -> None:
        self._file = OutboxFile(path)
        self._sender = sender
        self._wall = wall
        self._journal = Journal()
        self._entries = 0
        self._kept = 0
        """Entries that were left when the file was written anew."""
        self._queue: list[_Queued] = []
        self._writing: list[_Queued] = []
        self._wake = asyncio.Event()
        self._user: str | None = None
        self._leads = False
        self._handed: set[str] = set()
        """Commands that the machine has."""

    @property
    def leads(self) -> bool:
        return self._leads

    def unsent(self) -> list[Unsent]:
        """In the order of sending, as this process knows it."""
        return list(self._journal.unsent.values())

    async def put(self, command: StoredCommand) -> None:
        """Returns once the file has it: from then on it is sent, by whom and when ever."""
        if command.id in self._journal.unsent:
            raise ValueError(f"the command {command.id} is in the outbox already; wait for it, or give a new id")
        if len(self._journal.unsent) + len(self._queue) >= UNSENT_MAX:
            raise OutboxFull(f"{UNSENT_MAX} commands are unsent; wait, or delete some")
        outcome = self._journal.outcomes.get(command.id)
        if isinstance(outcome, Done):
            self._follow(outcome)
        else:
            await self._write(Put(self._wall(), command))

    async def retry(self, command: str) -> None:
        await self._write(Retried(self._wall(), command))

    async def delete(self, command: str) -> None:
        await self._write(Deleted(self._wall(), command))

    def greeted(self, user: str) -> None:
        self._user = user
        self._wake.set()

    def settled(self, outcome: Settle | Reject) -> None:
        """What the machine says about a command; whatever else it says is not for the file."""
        if outcome.call not in self._handed:
            return
        if isinstance(outcome, Settle) and isinstance(outcome.answer, frames.Ack):
            self._queue.append((_done(stored(outcome.answer), self._wall()), None))
        elif isinstance(outcome, Reject) and isinstance(outcome.error, Refused):
            refused = outcome.error
            field = UNSET if refused.field is None else refused.field
            self._queue.append((Denied(self._wall(), outcome.call, refused.code, refused.message, field), None))
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled; then nothing is sent any more, and another process may lead."""
        try:
            while True:
                self._wake.clear()
                await self._turn()
                try:
                    async with asyncio.timeout(READ_S):
                        await self._wake.wait()
                except TimeoutError:
                    pass
        except OutboxFailed as error:
            self._sender.fail(Ended(str(error)))
        finally:
            await self._stop()

    async def load(self) -> None:
        """Read what is there, before anything is sent."""
        await self._read()

    async def _turn(self) -> None:
        self._writing, self._queue = self._queue, []
        if self._writing:
            await self._append(self._writing)
        self._writing = []
        await self._read()
        if self._user is not None and not self._leads and await asyncio.to_thread(self._file.lead):
            await self._begin_to_lead(self._user)
        if self._leads and self._entries > 2 * self._kept + ENTRIES_MIN:
            await asyncio.to_thread(self._file.compact, self._wall())
            await self._read()
            self._kept = self._entries

    async def _begin_to_lead(self, user: str) -> None:
        await self._read()
        if self._journal.owner is None:
            await asyncio.to_thread(self._file.append, [Owned(user)], durable=True)
        elif self._journal.owner != user:
            raise OutboxFailed(
                f"the outbox belongs to {self._journal.owner}, and {user} is connected; use another file"
            )
        self._leads = True
        for unsent in self.unsent():
            if unsent.denied is None:
                # An earlier leader may have tried it.
                self._hand(replace(unsent.command, again=True))

    async def _append(self, queue: list[_Queued]) -> None:
        durable = any(waiting is not None for _, waiting in queue)
        try:
            await asyncio.to_thread(self._file.append, [entry for entry, _ in queue], durable=durable)
        except OutboxFailed as error:
            for _, waiting in queue:
                if waiting is not None and not waiting.done():
                    waiting.set_exception(error)
            if not all(waiting is not None for _, waiting in queue):
                raise
            return
        for _, waiting in queue:
            if waiting is not None and not waiting.done():
                waiting.set_result(None)

    async def _read(self) -> None:
        news = await asyncio.to_thread(self._file.read)
        if news.anew:
            self._journal, self._entries = Journal(), 0
        self._entries += len(news.entries)
        for entry in news.entries:
            self._journal.apply(entry)
        for entry in news.entries:
            self._follow(entry)

    def _follow(self, entry: Entry) -> None:
        match entry:
            case Put(command=command):
                self._hand_on(command.id)
            case Retried(id=command_id):
                self._hand_on(command_id)
            case Done():
                self._handed.discard(entry.id)
                ack = frames.Ack(id=entry.id, room=entry.room, epoch=entry.epoch, seq=entry.seq, ts=entry.ts)
                self._sender.answer(Settle(entry.id, ack))
            case Denied():
                self._handed.discard(entry.id)
                field = entry.field if isinstance(entry.field, str) else None
                self._sender.answer(Reject(entry.id, Refused(entry.id, entry.code, entry.message, field)))
            case Deleted():
                if entry.id in self._handed:
                    self._handed.discard(entry.id)
                    self._sender.withdraw(entry.id)
                self._sender.answer(Reject(entry.id, Withdrawn(entry.id)))
            case Owned():
                pass

    def _hand_on(self, command: str) -> None:
        unsent = self._journal.unsent.get(command)
        if self._leads and unsent is not None and unsent.denied is None:
            self._hand(unsent.command)

    def _hand(self, command: StoredCommand) -> None:
        if command.id not in self._handed:
            self._handed.add(command.id)
            self._sender.store(command)

    async def _write(self, entry: Entry) -> None:
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append((entry, waiting))
        self._wake.set()
        await waiting

    async def _stop(self) -> None:
        queue, self._queue = self._queue, []
        try:
            if queue:
                await asyncio.to_thread(self._file.append, [entry for entry, _ in queue], durable=False)
        finally:
            for _, waiting in (*self._writing, *queue):
                if waiting is not None and not waiting.done():
                    waiting.set_exception(Ended("the client is closed"))
            self._leads = False
            self._file.close()


def _done(ack: Ack, at: float) -> Done:
    return Done(at, ack.id, ack.room, ack.epoch, ack.seq, ack.ts)
