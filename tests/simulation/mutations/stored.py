"""What is stored once: acks, look-ups, resends (§2.1, §2.2)."""

from collections.abc import Sequence
from typing import Any, Final

import chatnode.broker.publish
import chatnode.rooms.catchup
import chatnode.rooms.gaps
import chatnode.rooms.hub
import chatnode.rooms.room
import chatnode.rooms.stored
import chatnode.rooms.tail
from chatclient.outbox import Outbox
from chatnode.broker.acks import PubAck, decode_ack
from chatnode.broker.publish import Publisher
from chatnode.protocol.errors import ErrorCode
from chatnode.rooms.ports import Accepted, Stored, Unknown
from chatnode.rooms.posting import Poster, Posting
from chatnode.rooms.refusals import refusal
from chatnode.rooms.stored import LookUps, Sought
from chatnode.session.stillness import Stillness
from tests.simulation.mutations.mutation import Mutation, Patch


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


STORED: Final = (
    Mutation("ack-before-storage", "§2.1 no ack without storage", _ack_before_storage),
    Mutation("no-look-up", "§2.2 a resend is looked up in commands and the tail", _no_look_up),
    Mutation("no-tail-in-look-up", "§2.2 the look-up covers the stream beyond the watermark", _only_database),
    Mutation("no-expected-sequence", "§2.2 a resend carries Expected-Last-Subject-Sequence", _no_expected_sequence),
    Mutation("no-care-after-a-stop", "§2.2 what a node reads that stood still is looked up", _no_care_after_a_stop),
    Mutation("publishing-late", "§2.2 no first attempt is published half a window late", _publishing_late),
    Mutation("in-process-is-stored", "§2.2 10158 is retryable, no ack", _in_process_is_stored),
    Mutation("resends-look-new", "§2.2 a resend says again", _resends_look_new),
    Mutation("rights-before-look-up", "§2.2 what is stored is told as stored", _rights_before_look_up),
)
