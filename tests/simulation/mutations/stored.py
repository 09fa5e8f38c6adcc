"""What is stored once: acks, look-ups, resends (§2.1, §2.2)."""

from collections.abc import Sequence
from typing import Any, Final

import chatnode.broker.publish
import chatnode.rooms.stored
from chatclient.outbox import Outbox
from chatnode.broker.acks import PubAck, decode_ack
from chatnode.broker.publish import Publisher
from chatnode.protocol.errors import ErrorCode
from chatnode.rooms.ports import Accepted, HistoryAway, NotStored, Stored, Unknown
from chatnode.rooms.posting import Poster, Posting
from chatnode.rooms.refusals import refusal
from chatnode.rooms.stored import LookUps, Sought
from chatnode.session.stillness import Stillness
from tests.simulation.mutations.mutation import Mutation, Patch
from tests.simulation.streams import Stream


def _ack_before_storage() -> Sequence[Patch]:
    original = Publisher._store_one

    async def store(self: Publisher, *args: Any) -> Any:
        outcome = await original(self, *args)
        return Accepted(10**6) if isinstance(outcome, Unknown) else outcome

    return [(Publisher, "_store_one", store)]


def _no_look_up() -> Sequence[Patch]:
    async def seek(self: LookUps, room: str, user: str, commands: Sequence[str]) -> Sought:
        sought = Sought(room, user, commands, self.epoch(room))
        await go_on(self, sought)
        return sought

    async def go_on(self: LookUps, sought: Sought) -> None:
        last = await self._log.last(sought.room)
        sought.read((), sought.upto if last is None else last.seq)

    return [(LookUps, "seek", seek), (LookUps, "go_on", go_on)]


def _only_database() -> Sequence[Patch]:
    async def nothing(*_args: object) -> list[Stored]:
        return []

    return [(chatnode.rooms.stored, "tail_of", nothing)]


def _no_expected_sequence() -> Sequence[Patch]:
    async def store(self: Publisher, *args: Any) -> Any:
        return await self._store_one(*args[:-1])

    return [(Publisher, "_store_expecting", store)]


def _no_care_after_a_stop() -> Sequence[Patch]:
    return [(Stillness, "lately", lambda self: False)]


def _publishing_late() -> Sequence[Patch]:
    """As it was: what began as a first attempt stays one, however long it takes."""

    def payload(self: Posting) -> Any:
        self._began = self._poster.monotonic()
        return original(self)

    original = Posting.payload
    return [(Posting, "payload", payload)]


def _in_process_is_stored() -> Sequence[Patch]:
    original = decode_ack

    def decode(data: bytes) -> PubAck:
        ack = original(data)
        return PubAck(seq=10**6) if ack.error is not None and ack.error.err_code == 10158 else ack

    return [(chatnode.broker.publish, "decode_ack", decode)]


def _resends_look_new() -> Sequence[Patch]:
    from msgspec.structs import replace

    def attempt(entry: Any) -> Any:
        entry.attempted = True
        entry.under_way = True
        return replace(entry.command, again=False)

    return [(Outbox, "_attempt", staticmethod(attempt))]


def _rights_before_look_up() -> Sequence[Patch]:
    """As it was: who has no right any more is refused, whatever was stored before."""
    original = Poster._post_one

    async def post(self: Poster, author: Any, command: Any, queue: Any) -> None:
        rights = await self._rights.load(command.room)
        if rights is None or rights.role_of(author.user) is None:
            raise refusal(ErrorCode.NOT_FOUND)
        await original(self, author, command, queue)

    return [(Poster, "_post_one", post)]


class _Forgetful(dict[str, Any]):
    """Of message ids: none is known."""

    def __contains__(self, key: object) -> bool:
        return False

    def get(self, key: object, default: object = None) -> None:
        return None


def _no_message_ids() -> Sequence[Patch]:
    """To a stream a publish without an id is what one is whose id it does not know."""
    original = Stream.__init__

    def init(self: Stream, *args: Any) -> None:
        original(self, *args)
        self.ids, self.staged_ids = _Forgetful(), _Forgetful()

    return [(Stream, "__init__", init)]


def _attempts_are_not_kept() -> Sequence[Patch]:
    """As long as the client lives it knows what it has sent; after a crash it does not."""
    original = Outbox._attempt

    def attempt(entry: Any) -> Any:
        entry.attempted = entry.attempted or hasattr(entry, "known")
        command = original(entry)
        entry.known = True
        entry.attempted = command.again
        return command

    return [(Outbox, "_attempt", staticmethod(attempt))]


def _only_tail() -> Sequence[Patch]:
    async def seek(self: LookUps, room: str, user: str, commands: Sequence[str]) -> Sought:
        sought = Sought(room, user, commands, self.epoch(room))
        written = await self._history.watermark(self._log.partition_of(room))
        sought.upto = 0 if written is None or written.epoch != sought.epoch else written.seq
        await self.go_on(sought)
        return sought

    return [(LookUps, "seek", seek)]


def _away_is_nothing() -> Sequence[Patch]:
    original = LookUps.seek

    async def seek(self: LookUps, room: str, user: str, commands: Sequence[str]) -> Sought:
        try:
            return await original(self, room, user, commands)
        except HistoryAway:
            sought = Sought(room, user, commands, self.epoch(room))
            last = await self._log.last(room)
            sought.read((), 0 if last is None else last.seq)
            return sought

    return [(LookUps, "seek", seek)]


def _moved_goes_again() -> Sequence[Patch]:
    async def store(self: Publisher, attempt: Any, payload: bytes, expected: int) -> Any:
        outcome = await self._store_one(attempt, payload, expected)
        moved = isinstance(outcome, NotStored) and outcome.moved
        return await self._store_one(attempt, payload) if moved else outcome

    return [(Publisher, "_store_expecting", store)]


def _duplicates_believed() -> Sequence[Patch]:
    def answer(self: Poster, author: Any, command: Any, found: Any) -> None:
        self._accept(author, command, found.epoch, found.seq, found.ts)

    return [(Poster, "_answer_stored", answer)]


def _unknown_is_refused() -> Sequence[Patch]:
    """A batch that nobody answered is taken for one that was refused."""
    original = Publisher._store_together

    async def together(self: Publisher, stream: str, ready: Any) -> Any:
        outcome = await original(self, stream, ready)
        return NotStored(str(outcome)) if isinstance(outcome, Unknown) else outcome

    return [(Publisher, "_store_together", together)]


STORED: Final = (
    Mutation("ack-before-storage", "§2.1 no ack without storage", _ack_before_storage),
    Mutation("unknown-is-refused", "§2.1 what nobody answered may be stored", _unknown_is_refused),
    Mutation("no-message-ids", "§2.2 a first attempt carries Nats-Msg-Id", _no_message_ids),
    Mutation("attempts-not-kept", "§2.2 again is set durably before the first attempt", _attempts_are_not_kept),
    Mutation("no-commands-in-look-up", "§2.2 the look-up covers what MongoDB has", _only_tail),
    Mutation("away-is-nothing", "§2.2 where a source is away the answer is no guess", _away_is_nothing),
    Mutation("moved-goes-again", "§2.2 on 10071 it is looked up again", _moved_goes_again),
    Mutation("duplicates-believed", "§2.2 what a duplicate is of is compared", _duplicates_believed),
    Mutation("no-look-up", "§2.2 a resend is looked up in commands and the tail", _no_look_up),
    Mutation("no-tail-in-look-up", "§2.2 the look-up covers the stream beyond the watermark", _only_database),
    Mutation("no-expected-sequence", "§2.2 a resend carries Expected-Last-Subject-Sequence", _no_expected_sequence),
    Mutation("no-care-after-a-stop", "§2.2 what a node reads that stood still is looked up", _no_care_after_a_stop),
    Mutation("publishing-late", "§2.2 no first attempt is published half a window late", _publishing_late),
    Mutation("in-process-is-stored", "§2.2 10158 is retryable, no ack", _in_process_is_stored),
    Mutation("resends-look-new", "§2.2 a resend says again", _resends_look_new),
    Mutation("rights-before-look-up", "§2.2 what is stored is told as stored", _rights_before_look_up),
)
