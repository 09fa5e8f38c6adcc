"""A migrated database of a test, and short ways to fill it."""

import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from chatnode.history.client import Mongo
from chatnode.history.schema import migrate
from chatnode.history.writer import HistoryWriter
from chatnode.protocol.envelope import Envelope, EventKind
from chatnode.protocol.frames import MemberChange, Position
from chatnode.protocol.sealing import PlainSealer

SEALER: Final = PlainSealer()


@asynccontextmanager
async def migrated(uri: str, database: str) -> AsyncIterator[Mongo]:
    opened = Mongo(uri, database, name="test")
    await migrate(opened.database)
    try:
        yield opened
    finally:
        await opened.close()


def event(
    kind: EventKind,
    room: str,
    *,
    user: str = "ann",
    id_: str | None = None,
    ts: int = 1,
    text: str | None = None,
    target: Position | None = None,
    reply_to: Position | None = None,
    mentions: tuple[str, ...] = (),
    emoji: str | None = None,
    on: bool = True,
    change: MemberChange | None = None,
    actor: str | None = None,
) -> Envelope:
    return Envelope(
        kind=kind,
        room=room,
        user=user,
        id=id_ or uuid.uuid4().hex,
        ts=ts,
        digest=f"digest of {id_}",
        body=None if text is None else SEALER.seal(user, text),
        target=target,
        reply_to=reply_to,
        mentions=mentions,
        emoji=emoji,
        on=on,
        change=change,
        actor=actor,
    )


async def write(mongo: Mongo, epoch: int, events: Sequence[tuple[int, Envelope]]) -> None:
    await HistoryWriter(mongo.database).write(epoch, events)
