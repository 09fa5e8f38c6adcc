"""Log lines: one record is one line, with its context, whatever is in it."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatnode.telemetry.logs import Format, JsonLines, Level, TextLines, about, configure

log = logging.getLogger("chat.test")


@pytest.fixture(autouse=True)
def _own_root() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def lines(form: Format, level: Level = "info", node: str = "") -> io.StringIO:
    stream = io.StringIO()
    configure(level, form, stream, node=node)
    return stream


def test_a_json_line_carries_time_level_node_and_context() -> None:
    stream = lines("json", node="node-1")
    log.info("stored %d", 3, extra=about(user="anna", room="python-1", seq=7))
    [line] = stream.getvalue().splitlines()
    record = json.loads(line)
    assert record.pop("time").endswith("Z")
    assert record == {
        "level": "info",
        "logger": "chat.test",
        "message": "stored 3",
        "node": "node-1",
        "user": "anna",
        "room": "python-1",
        "seq": 7,
    }


def test_an_exception_is_part_of_its_line() -> None:
    stream = lines("json")
    try:
        raise ValueError("no such room")
    except ValueError:
        log.exception("failed")
    record = json.loads(stream.getvalue())
    assert "ValueError: no such room" in record["error"]


def test_less_than_the_level_is_not_logged() -> None:
    stream = lines("json", "warning")
    log.info("quiet")
    log.warning("loud")
    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == ["loud"]


def test_configuring_again_replaces_what_was_there() -> None:
    first, second = lines("json"), lines("text")
    log.info("hello")
    assert first.getvalue() == ""
    assert second.getvalue().count("hello") == 1


def test_a_text_line_is_for_people() -> None:
    stream = lines("text", node="node-1")
    log.warning("slow reader", extra=about(user="anna", code="4001"))
    assert stream.getvalue().endswith(" WARNING node-1 chat.test: slow reader user=anna code=4001\n")


def test_a_text_line_shows_an_exception_below_it() -> None:
    stream = lines("text")
    try:
        raise ValueError("two\nlines \x1b[31m")
    except ValueError:
        log.exception("failed")
    first, *rest = stream.getvalue().splitlines()
    assert first.endswith("failed")
    assert all(line.startswith("    ") for line in rest)
    assert "\x1b" not in stream.getvalue()


@given(st.text(), st.text())
def test_no_value_can_forge_a_line_or_speak_to_a_terminal(message: str, user: str) -> None:
    record = log.makeRecord("chat", logging.INFO, "", 0, message, (), None, extra=about(user=user))
    text = TextLines("n").format(record)
    assert len(text.splitlines()) == 1
    assert all(character == " " or character.isprintable() or ord(character) >= 0xA0 for character in text)
    parsed = json.loads(JsonLines("n").format(record))
    assert (parsed["message"], parsed["user"]) == (message, user)
    assert "\n" not in JsonLines("n").format(record)


def test_a_foreign_extra_of_the_same_name_does_no_harm() -> None:
    record = log.makeRecord("chat", logging.INFO, "", 0, "hello", (), None, extra={"chat": "not ours"})
    assert json.loads(JsonLines().format(record))["message"] == "hello"
