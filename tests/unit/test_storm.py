"""The storm's people see a gap, a copy and a page that does not reach back, and come again as they are told."""

import asyncio
from collections.abc import AsyncIterator, Callable

import msgspec
import pytest

from tests.storm.person import Person, Place, Tally


class Line:
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        self.written = b""
        self.aborted = False

    def write(self, data: bytes) -> None:
        self.written += data

    def abort(self) -> None:
        self.aborted = True

    def is_closing(self) -> bool:
        return self.aborted


@pytest.fixture
async def met() -> AsyncIterator[tuple[Person, Line, Tally]]:
    """Somebody whose upgrade was accepted."""
    tally, line = Tally(), Line()
    person = Person("r", "t", [Place("127.0.0.1", 1)], 0, "127.0.0.1", tally, lambda: 0.5)
    person.connection_made(line)  # type: ignore[arg-type]
    person.data_received(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n")
    yield person, line, tally
    await person.stop()


def frame(**fields: object) -> bytes:
    payload = msgspec.json.encode(fields)
    assert len(payload) < 65_536
    return b"\x81\x7e" + len(payload).to_bytes(2, "big") + payload


def joined(*numbers: int, recovered: bool = False) -> bytes:
    messages = [{"text": str(number)} for number in numbers]
    return frame(type="ack", id="s", room="r", cursor="c0", recovered=recovered, messages=messages)


def message(number: int) -> bytes:
    return frame(type="event", kind="message", room="r", text=str(number), cursor=f"c{number}")


async def test_what_comes_in_order_is_neither_gap_nor_copy_however_it_is_cut(met: tuple[Person, Line, Tally]) -> None:
    person, _, tally = met
    for byte in joined(1, 2) + message(3) + message(4):
        person.data_received(bytes((byte,)))
    assert person.joined
    assert person.last == 4
    assert (tally.gaps, tally.copies) == (0, 0)


@pytest.mark.parametrize(
    ("heard", "seen"),
    [
        (lambda: message(4), (1, 0)),
        (lambda: message(2), (0, 1)),
        (lambda: joined(2, 4), (1, 0)),
        (lambda: joined(5, 6), (1, 0)),
    ],
    ids=["a gap", "a copy", "a page with a hole", "a page that does not reach back"],
)
async def test_what_is_missing_or_twice_is_counted(
    met: tuple[Person, Line, Tally], heard: Callable[[], bytes], seen: tuple[int, int]
) -> None:
    person, _, tally = met
    person.data_received(joined(1, 2))
    person.data_received(heard())
    assert (tally.gaps, tally.copies) == seen


async def test_who_comes_back_presents_the_cursor_of_the_last_message(met: tuple[Person, Line, Tally]) -> None:
    person, line, _ = met
    person.data_received(joined(1) + message(2))
    person.connection_lost(None)
    assert not person.joined
    again = Line()
    person.connection_made(again)  # type: ignore[arg-type]
    person.data_received(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
    assert b'"cursors":{"r":"c2"}' in again.written
    assert b"cursors" not in line.written


async def test_who_is_refused_for_now_waits_as_long_as_it_is_told() -> None:
    tally = Tally()
    person = Person("r", "t", [Place("127.0.0.1", 1)], 0, "127.0.0.1", tally, lambda: 0.0)
    line = Line()
    person.connection_made(line)  # type: ignore[arg-type]
    loop = asyncio.get_running_loop()
    before = loop.time()
    person.data_received(b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 7\r\n\r\n")
    assert tally.refused == 1
    assert line.aborted
    person.connection_lost(None)
    assert person.wakes_at is not None
    assert 6.9 <= person.wakes_at - before <= 7.2
    await person.stop()
