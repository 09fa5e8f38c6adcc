"""Writes the shared test vectors: what both clients and the nodes have to agree on, as JSON beside this file.

Run ``python -m tests.vectors.generate`` after a change of the protocol; a test compares.
"""

import json
from pathlib import Path
from typing import Final

import msgspec

from chatclient import backoff
from chatnode.protocol.codec import decode_command, encode_frame
from chatnode.protocol.cursors import Cursor, CursorError, parse_cursor
from chatnode.protocol.errors import ERRORS, CloseCode, ProtocolError
from chatnode.protocol.events import DeleteEvent, EditEvent, MemberEvent, MessageEvent, ReactionEvent, StoredEvent
from chatnode.protocol.fold import Timeline
from chatnode.protocol.frames import MemberChange, Position, Send
from chatnode.protocol.ids import direct_room, event_hash
from tests.vectors.transports import transports

FOLDER: Final = Path(__file__).parent
Json = object


def cursors() -> Json:
    valid = [
        Cursor(0, 0),
        Cursor(1, 1, "00000000"),
        Cursor(3, 1_234, "9a0b1c2d"),
        Cursor(2**31 - 1, 2**53 - 1, "ffffffff"),
    ]
    invalid = ["", "1-2", "1-2-3", "01-2-0", "1-02-0", "1-2-0\n", " 1-2-0", "1-2-ABCDEF01", "-1-2-0", f"{2**31}-1-0"]
    return {
        "valid": [{"text": str(each), "epoch": each.epoch, "seq": each.seq, "hash": each.hash} for each in valid],
        "invalid": [text for text in [*invalid, f"1-{2**53}-0"] if not _is_cursor(text)],
    }


def _is_cursor(text: str) -> bool:
    try:
        parse_cursor(text)
    except CursorError:
        return False
    return True


def event_hashes() -> Json:
    pairs = [("ana", "c1"), ("bob", "c1"), ("a", "b-c"), ("a-b", "c"), ("u" * 64, "_" * 64)]
    return [{"user": user, "command": command, "hash": event_hash(user, command)} for user, command in pairs]


def direct_rooms() -> Json:
    pairs = [("ana", "bob"), ("bob", "ana"), ("ana", "ana2"), ("Z", "a"), ("_", "-")]
    return [{"users": pair, "room": direct_room(*pair)} for pair in pairs]


def errors() -> Json:
    return {
        "errors": {
            code: {"retryable": rule.retryable, "status": rule.status, "action": rule.action}
            for code, rule in ERRORS.items()
        },
        "closes": {str(int(code)): {"name": code.name.lower(), "reconnect": code.reconnect} for code in CloseCode},
    }


def backoffs() -> Json:
    return [
        {"attempt": attempt, "draw": draw, "seconds": backoff.delay(attempt, draw)}
        for attempt in (0, 1, 2, 3, 4, 5, 6, 50)
        for draw in (0.0, 0.25, 0.5)
    ]


def frames() -> Json:
    """Frames as text: what decodes, written as nodes and clients write it, and what is refused, with the field."""
    valid = [
        Send(id="c1", room="r", text="Bonjour"),
        Send(id="c1", room="r", text="d’accord 👍", reply_to=Position(1, 7), mentions=("bob",), again=True),
    ]
    invalid = [
        "",
        "[]",
        '{"type":"ping"}',
        '{"type":"nope","id":"c1"}',
        '{"type":"ping","id":"c 1"}',
        '{"type":"ping","id":"c1","more":1}',
        '{"type":"send","id":"c1","room":"r","text":""}',
        '{"type":"send","id":"c1","room":"r","text":"' + "é" * 8_193 + '"}',
        '{"type":"send","id":"c1","room":"r","text":"x","reply_to":{"epoch":1}}',
        '{"type":"send","id":"c1","room":"r","text":"\\ud800"}',
        '{"type":"history","id":"c1","room":"r","before":{"epoch":1,"seq":1},"after":{"epoch":1,"seq":1}}',
    ]
    return {"valid": [encode_frame(frame).decode() for frame in valid], "invalid": [_refused(text) for text in invalid]}


def _refused(text: str) -> Json:
    try:
        command = decode_command(text)
    except ProtocolError as error:
        return {"text": text, "code": error.code, "id": error.command, "field": error.field}
    raise AssertionError(f"a frame that is meant to be refused decodes as {command}")


def folds() -> Json:
    first, edited, gone = Position(1, 1), Position(1, 2), Position(1, 3)
    log: list[StoredEvent] = [
        message(1, "ana", "un"),
        message(2, "bob", "deux", reply_to=first),
        message(3, "ana", "trois"),
        react(4, "bob", first, "👍"),
        react(5, "ana", first, "👍"),
        react(6, "bob", first, "👍", on=False),
        EditEvent(**fields(7, "bob"), target=edited, text="deux, corrigé", mentions=("ana",)),
        react(8, "bob", gone, "🎉"),
        DeleteEvent(**fields(9, "tom"), target=gone),
        MemberEvent(**fields(10, "tom"), change=MemberChange("eve", "learner", "Ève")),
    ]
    copy = msgspec.structs.replace(log[6], seq=12, prev=11, cursor="1-12-0")
    later_edit = EditEvent(**fields(11, "bob"), target=edited, text="deux, encore")
    restored = EditEvent(**fields(5, "bob", epoch=2), target=edited, text="après la restauration")
    return [
        fold("a whole log", [], log),
        fold("the second half over the page of the first", log[:5], log[5:]),
        fold("events that the page contains already", log[:8], log[3:]),
        fold("edits, deletes and reactions after a delete change nothing", log, [react(11, "ana", gone, "👍")]),
        fold("a deleted message is no longer an edited one", log, [DeleteEvent(**fields(11, "bob"), target=edited)]),
        fold("a second copy of an edit is void", log[:6], [log[6], later_edit, copy]),
        fold("a second copy of a message is void", log, [msgspec.structs.replace(log[0], seq=13, prev=10)]),
        fold("an edit of a new epoch counts though its number is lower", log, [restored]),
        fold("what targets nothing that is held changes nothing", log[9:], [react(11, "ana", first, "👍")]),
    ]


def fold(name: str, before: list[StoredEvent], events: list[StoredEvent]) -> Json:
    held = Timeline()
    for event in before:
        held.apply(event)
    page = held.messages()
    timeline = Timeline(page)
    for event in events:
        timeline.apply(event)
    return {"name": name, "page": page, "events": events, "result": timeline.messages()}


def fields(seq: int, sender: str, *, epoch: int = 1) -> dict[str, object]:
    return {
        "room": "r",
        "epoch": epoch,
        "seq": seq,
        "prev": seq - 1,
        "cursor": f"{epoch}-{seq}-0",
        "ts": 1_700_000_000_000 + seq,
        "sender": sender,
        "id": f"c{epoch}-{seq}",
    }


def message(seq: int, sender: str, text: str, **more: Position) -> MessageEvent:
    return MessageEvent(**fields(seq, sender), text=text, **more)


def react(seq: int, sender: str, target: Position, emoji: str, *, on: bool = True) -> ReactionEvent:
    return ReactionEvent(**fields(seq, sender), target=target, emoji=emoji, on=on)


VECTORS: Final = {
    "cursors.json": cursors,
    "event_hashes.json": event_hashes,
    "direct_rooms.json": direct_rooms,
    "errors.json": errors,
    "backoff.json": backoffs,
    "frames.json": frames,
    "fold.json": folds,
    "transports.json": transports,
}


def rendered(name: str) -> str:
    plain = msgspec.to_builtins(VECTORS[name]())
    return json.dumps(plain, ensure_ascii=False, indent=1) + "\n"


def main() -> None:
    for name in VECTORS:
        (FOLDER / name).write_text(rendered(name), "utf-8")


if __name__ == "__main__":
    main()
