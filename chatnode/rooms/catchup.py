"""What somebody who joins or comes back has to be given: history and tail as a page, or exactly the missed events.

The writer's lag is never seen: a page is MongoDB's, plus the stream's tail beyond the watermark, folded by the same
rules (ARCHITECTURE §3.6). While MongoDB is away a page is what the stream alone holds, and says that it is partial.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

from chatnode.protocol import limits
from chatnode.protocol.codec import encode_frame
from chatnode.protocol.cursors import Cursor
from chatnode.protocol.envelope import decode_envelope
from chatnode.protocol.errors import ErrorCode, ProtocolError
from chatnode.protocol.events import MemberEvent, MessageEvent, StoredEvent
from chatnode.protocol.fold import Timeline
from chatnode.protocol.frames import Message, Position
from chatnode.protocol.sealing import Sealer
from chatnode.rooms.copies import find_void, is_late
from chatnode.rooms.outage import HistoryOutage
from chatnode.rooms.ports import HistoryAway, HistoryReader, Page, RoomLog, Stored, Unavailable, Watermark
from chatnode.rooms.render import cursor_of, event_of
from chatnode.rooms.room import Room
from chatnode.rooms.tail import TAIL_MAX, tail_of

_PARTIAL_EVENTS: Final = 400
"""Last events that the newest page is made of while MongoDB is away; :data:`TAIL_MAX` for pages further back."""
_HISTORY_S: Final = 5.0
"""Longest that a page waits for MongoDB before the stream alone answers."""
_KEPT_PAGES: Final = 128
_KEPT_TEXT: Final = 32 * 1024
"""Characters of a page that is worth keeping: all kept pages together stay below some MiB."""


def merge(
    page: Page,
    tail: list[StoredEvent],
    *,
    before: Position | None,
    after: Position | None,
    around: Position | None,
    limit: int,
    upto: Position,
) -> Page:
    """``page`` with ``tail`` folded in, cut to what was asked for; nothing beyond ``upto``. Pure."""
    timeline = Timeline(page.messages)
    for event in tail:
        begins = isinstance(event, MessageEvent | MemberEvent)
        if begins and page.more_after:
            continue
        timeline.apply(event)
    messages = [message for message in timeline.messages() if message.position <= upto]
    if before is not None:
        messages = [message for message in messages if message.position < before]
    if after is not None:
        messages = [message for message in messages if message.position > after]
    more_before, more_after = page.more_before, page.more_after
    excess = len(messages) - limit
    if excess <= 0:
        return Page(tuple(messages), more_before, more_after)
    if after is not None:
        return Page(tuple(messages[:limit]), more_before, more_after=True)
    if around is not None:
        return _cut_around(messages, around, limit, page)
    return Page(tuple(messages[excess:]), more_before=True, more_after=more_after)


def _cut_around(messages: list[Message], around: Position, limit: int, page: Page) -> Page:
    earlier = sum(1 for message in messages if message.position < around)
    start = max(0, min(earlier - limit // 2, len(messages) - limit))
    return Page(
        tuple(messages[start : start + limit]),
        more_before=page.more_before or start > 0,
        more_after=page.more_after or start + limit < len(messages),
    )


class _Asked(NamedTuple):
    before: Position | None = None
    after: Position | None = None
    around: Position | None = None
    limit: int = limits.PAGE


class NewestPages:
    """The newest page of each room as of one cursor, for the next who joins there. Pure, bounded.

    What a page as of a cursor shows follows from the events up to it: whatever changes a room's page, an erasure too,
    is an event and moves the cursor on.
    """

    def __init__(self) -> None:
        self._pages: OrderedDict[tuple[str, int], tuple[Cursor, Page]] = OrderedDict()

    def find(self, room: str, limit: int, upto: Cursor) -> Page | None:
        kept = self._pages.get((room, limit))
        return kept[1] if kept is not None and kept[0] == upto else None

    def keep(self, room: str, limit: int, upto: Cursor, page: Page) -> None:
        self._pages.pop((room, limit), None)
        if sum(len(message.text) for message in page.messages) > _KEPT_TEXT:
            return
        self._pages[room, limit] = (upto, page)
        if len(self._pages) > _KEPT_PAGES:
            self._pages.popitem(last=False)


class CatchUp:
    def __init__(
        self,
        *,
        log: RoomLog,
        history: HistoryReader,
        sealer: Sealer,
        epoch_of: Callable[[int], int],
        frame: Callable[[bytes], bytes],
        outage: HistoryOutage | None = None,
    ) -> None:
        self._outage = HistoryOutage() if outage is None else outage
        self._log = log
        self._history = history
        self._sealer = sealer
        self._epoch_of = epoch_of
        self._frame = frame
        self._newest = NewestPages()

    async def newest(self, room: Room, limit: int) -> tuple[Cursor, Page]:
        """The page of the room's last messages as of the cursor that comes with it: where the room is followed here."""
        upto = room.cursor
        page = self._newest.find(room.name, limit, upto)
        if page is None or (page.partial and not self._outage.away):
            if room.headless:
                page = await self._partial(room.name, _Asked(limit=limit), upto)
            else:
                page = await self.page(room.name, limit=limit, upto=upto)
            self._newest.keep(room.name, limit, upto, page)
        return upto, page

    async def page(
        self,
        room: str,
        *,
        before: Position | None = None,
        after: Position | None = None,
        around: Position | None = None,
        limit: int = limits.PAGE,
        upto: Cursor | None = None,
    ) -> Page:
        """A page of the room as of ``upto`` (None: as of now); without MongoDB a partial one. :class:`Unavailable`
        where NATS is away, and where a partial page could not tell what lies at ``after`` or ``around``."""
        partition = self._log.partition_of(room)
        epoch = self._epoch_of(partition)
        if upto is None:
            last = await self._log.last(room)
            end = 0 if last is None else last.seq
            bound = Position(epoch, 2**53 - 1)
        else:
            end, bound = upto.seq, Position(upto.epoch, upto.seq)
        asked = _Asked(before, after, around, limit)
        try:
            written, page = await self._kept(room, asked)
            start = written.seq if written is not None and written.epoch == epoch else 0
            tail = await self._tail(room, epoch, start, end)
        except HistoryAway:
            return await self._partial(room, asked, Cursor(epoch, end))
        return merge(page, tail, **asked._asdict(), upto=bound)

    async def _kept(self, room: str, asked: _Asked) -> tuple[Watermark | None, Page]:
        """The watermark, read first, and MongoDB's page."""
        try:
            async with asyncio.timeout(_HISTORY_S):
                written = await self._history.watermark(self._log.partition_of(room))
                return written, await self._history.page(room, **asked._asdict())
        except TimeoutError as error:
            raise HistoryAway(f"MongoDB gave no page of {room} within {_HISTORY_S:g} s") from error

    async def _partial(self, room: str, asked: _Asked, upto: Cursor) -> Page:
        """What the stream holds, without second copies of what it holds too: of what else there may be copies, MongoDB
        alone could say."""
        known_from = asked.after or asked.around
        most = TAIL_MAX if asked.before or known_from else _PARTIAL_EVENTS
        start, stored = await self._log.newest(room, upto.seq, most) if upto.seq else (0, [])
        if known_from is not None and known_from <= Position(upto.epoch, start):
            raise Unavailable(f"MongoDB is away, and the stream holds nothing of {room} at that place any more")
        void = await self._copies_in_stream(room, upto, stored)
        events = self._events([item for item in stored if item.seq not in void], upto.epoch, 0)
        bound = Position(upto.epoch, upto.seq)
        page = merge(Page((), more_before=True), events, **asked._asdict(), upto=bound)
        self._outage.gave_partial(room)
        return Page(page.messages, more_before=True, more_after=page.more_after, partial=True)

    async def _copies_in_stream(self, room: str, upto: Cursor, stored: list[Stored]) -> set[int]:
        """Late is also what was stored in time by a node whose clock is behind: being late is no proof."""
        late = {item.seq: key for item in stored if (key := _late_key(item)) is not None}
        if not late:
            return set()
        _, held = await self._log.newest(room, upto.seq, TAIL_MAX)
        firsts: dict[tuple[str, str], int] = {}
        for item in held:
            key = _key(item)
            if key is not None:
                firsts.setdefault(key, item.seq)
        return {seq for seq, key in late.items() if firsts.get(key, seq) < seq}

    async def recover(self, room: Room, cursor: Cursor) -> list[bytes] | None:
        """Frames of everything in ``(cursor, room.last]``; None: it cannot be told, reload.

        The room may move on while this waits: the caller joins only if ``room.replay`` closes the rest.
        """
        if cursor.epoch != room.epoch or cursor.seq > room.last:
            return None
        known = room.knows(cursor)
        if known is False:
            return None
        if known and (frames := room.replay(cursor.seq)) is not None:
            return frames
        try:
            return await self._fetch(room, cursor, known=known is True)
        except HistoryAway:
            return None

    async def _fetch(self, room: Room, cursor: Cursor, *, known: bool) -> list[bytes] | None:
        if not known and not await self._still_there(room, cursor):
            return None
        end = room.last
        stored = await self._log.whole(room.name, cursor.seq, end, limits.RECOVER_MAX)
        if stored is None:
            return None
        void = await self._late_copies(room, stored)
        kept = [item for item in stored if item.seq not in void]
        events = self._events(kept, room.epoch, cursor.seq)
        frames = [self._frame(encode_frame(event)) for event in events]
        rest = room.replay(end)
        return None if rest is None else frames + rest

    async def _late_copies(self, room: Room, stored: list[Stored]) -> set[int]:
        late = []
        for item in stored:
            try:
                envelope = decode_envelope(item.data)
            except msgspec.DecodeError:
                continue
            if is_late(envelope, item.ts):
                late.append((Position(room.epoch, item.seq), envelope))
        return {place.seq for place in await find_void(self._history, self._log, room.name, late)}

    async def _still_there(self, room: Room, cursor: Cursor) -> bool:
        """Whether the stream (or, once purged, history) still has at ``cursor.seq`` what the cursor means."""
        if cursor.seq == 0:
            return False
        found = await self._log.at(room.name, cursor.seq)
        if found is not None:
            try:
                return cursor_of(decode_envelope(found.data), room.epoch, cursor.seq) == cursor
            except msgspec.DecodeError:
                return False
        head = await self._history.head(room.name)
        return head == cursor

    async def _tail(self, room: str, epoch: int, start: int, end: int) -> list[StoredEvent]:
        stored = await tail_of(self._log, room, start, end)
        events = self._events(stored, epoch, start)
        keys = [(event.sender, event.id) for event in events if not isinstance(event, MemberEvent)]
        recorded = await self._history.commands(keys) if keys else {}

        def void(event: StoredEvent) -> bool:
            first = recorded.get((event.sender, event.id))
            if first is None or first.room != event.room:
                return False
            return (first.epoch, first.seq) < (event.epoch, event.seq)

        return [event for event in events if not void(event)]

    def _events(self, stored: list[Stored], epoch: int, prev: int) -> list[StoredEvent]:
        events: list[StoredEvent] = []
        for item in stored:
            try:
                envelope = decode_envelope(item.data)
            except msgspec.DecodeError:
                continue
            events.append(event_of(envelope, epoch=epoch, seq=item.seq, prev=prev, sealer=self._sealer))
            prev = item.seq
        return events


def _key(item: Stored) -> tuple[str, str] | None:
    try:
        envelope = decode_envelope(item.data)
    except msgspec.DecodeError:
        return None
    return envelope.user, envelope.id


def _late_key(item: Stored) -> tuple[str, str] | None:
    """Of what may be a second copy."""
    try:
        envelope = decode_envelope(item.data)
    except msgspec.DecodeError:
        return None
    return (envelope.user, envelope.id) if is_late(envelope, item.ts) else None


def refuse_unavailable(error: Unavailable, command: str | None = None) -> ProtocolError:
    """What a client is told when a source is away."""
    return ProtocolError(ErrorCode.UNAVAILABLE, str(error), command=command, retry_after=1.0)
