"""Requests that stand in for a socket: what they present, what their answers mean, how they are read."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatclient.ladder import End
from chatclient.lines.event_stream import EVENT_BYTES_MAX, EventStream, Oversized
from chatclient.lines.fallback import base_of
from chatclient.lines.followed import Followed, Request
from chatclient.lines.retrying import refusal_of, retry_after_of
from chatnode.protocol.frames import Connect, Ping, Refresh, Subscribe, Unsubscribe
from chatnode.transports.fallback.events import encode_events

# Streams of events.


@given(st.lists(st.text(max_size=30).map(lambda text: json.dumps(text).encode()), max_size=10), st.data())
def test_events_come_out_as_the_node_put_them_in_however_they_are_cut(frames: list[bytes], data: st.DataObject) -> None:
    written = b":\n\n" + (encode_events(frames, "r:1-1-0") if frames else b"") + b":\n\n"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(written)), max_size=8)))
    stream = EventStream()
    parts = [written[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(written)], strict=True)]
    assert [frame for part in parts for frame in stream.feed(part)] == frames


def test_line_ends_of_other_servers_and_several_lines_of_data_are_understood() -> None:
    assert EventStream().feed(b"event: x\r\ndata:one\r\ndata: two\r\nid: 1\r\n\r\n\r\n") == [b"one\ntwo"]


def test_an_event_without_an_end_is_given_up() -> None:
    stream = EventStream()
    assert stream.feed(b"data: " + b"x" * (EVENT_BYTES_MAX // 2) + b"\n") == []
    with pytest.raises(Oversized):
        stream.feed(b"data: " + b"x" * (EVENT_BYTES_MAX // 2))


# Rooms.


class Bench:
    """Rooms that are followed by requests, with what the machine is told, decoded."""

    def __init__(self, cursors: dict[str, str] | None = None) -> None:
        self.followed = Followed("token")
        self.followed.say(Connect(id="k", token="token", cursors=cursors or {}))
        self.request = self.followed.begin()

    def say(self, command: Subscribe | Unsubscribe | Refresh | Ping) -> list[dict[str, object]]:
        return [json.loads(reply) for reply in self.followed.say(command)]

    def hear(self, request: Request | None = None, **frame: object) -> list[dict[str, object]]:
        said = self.followed.hear(request or self.request, json.dumps(frame).encode())
        return [json.loads(each) for each in said]

    def welcome(self, request: Request | None = None) -> list[dict[str, object]]:
        limits = dict.fromkeys(("frame_bytes", "text_bytes", "mentions", "cursors", "page", "recover"), 1)
        fields = {"user": "ana", "name": "Ana", "node": "n", "session": "s", "version": "0"}
        times = {"heartbeat_ms": 25_000, "expires_at": 9_000}
        return self.hear(request, type="welcome", id="connect", **fields, **times, limits=limits)

    def subscribed(self, room: str, cursor: str, request: Request | None = None, **more: object) -> list[object]:
        frame = {"type": "event", "kind": "subscribed", "room": room, "cursor": cursor, "recovered": False, **more}
        return list(self.hear(request, **frame))

    def message(self, room: str, seq: int, request: Request | None = None) -> list[object]:
        place = {"epoch": 1, "seq": seq, "prev": seq - 1, "cursor": f"1-{seq}-0", "ts": seq}
        frame = {
            "type": "event",
            "kind": "message",
            "room": room,
            **place,
            "sender": "bob",
            "id": f"b{seq}",
            "text": "x",
        }
        return list(self.hear(request, **frame))


def test_the_welcome_answers_the_first_frame_and_a_later_one_nothing() -> None:
    bench = Bench({"r": "1-5-0"})
    assert bench.request.places == {"r": "1-5-0"}
    assert bench.request.news
    assert [frame["id"] for frame in bench.welcome()] == ["k"]
    assert bench.welcome() == []


def test_news_are_asked_for_until_each_room_that_the_client_began_with_was_told_of() -> None:
    """An answer may come before a room's turn, and without being asked a node says nothing of rooms that go on."""
    bench = Bench({"r": "1-5-0", "s": "1-6-0", "t": "1-7-0", "u": "1-8-0"})
    bench.welcome()
    assert bench.followed.begin().news
    bench.subscribed("r", "1-5-0", recovered=True)
    bench.hear(type="event", kind="unsubscribed", room="s", code="unavailable", message="", retryable=True)
    bench.say(Unsubscribe(id="n", room="u"))
    assert bench.followed.begin().news
    bench.subscribed("t", "1-9-0")
    assert not bench.followed.begin().news


def test_a_subscription_is_presented_by_the_next_request_and_answered_by_it_alone() -> None:
    bench = Bench()
    bench.welcome()
    assert bench.say(Subscribe(id="s", room="r", cursor="1-5-0")) == []
    assert bench.followed.changed
    assert bench.subscribed("r", "1-9-0") == [], "of the request before"
    later = bench.followed.begin()
    assert later.places == {"r": "1-5-0"}
    [ack] = bench.subscribed("r", "1-5-0", later, recovered=True)
    assert (ack["type"], ack["id"], ack["recovered"], ack["cursor"]) == ("ack", "s", True, "1-5-0")  # type: ignore[index]


def test_what_an_older_request_hears_moves_no_cursor_of_a_room_that_was_asked_for_since() -> None:
    """The client asked because something was missing: the next request has to begin before it."""
    bench = Bench({"r": "1-5-0"})
    bench.say(Subscribe(id="s", room="r", cursor="1-5-0"))
    assert len(bench.message("r", 8)) == 1
    assert bench.followed.begin().places == {"r": "1-5-0"}


def test_requests_go_on_from_what_was_heard() -> None:
    bench = Bench({"r": "1-5-0"})
    bench.message("r", 6)
    bench.message("r", 7)
    bench.message("r", 6)
    assert bench.followed.begin().places == {"r": "1-7-0"}
    bench.followed.unanswered(bench.request, {"r": "1-9-0", "other": "1-1-0"})
    assert bench.followed.begin().places == {"r": "1-9-0"}


def test_a_page_is_as_long_as_was_asked_for() -> None:
    bench = Bench()
    bench.say(Subscribe(id="s", room="r", limit=2))
    request = bench.followed.begin()
    page = [{"room": "r", "epoch": 1, "seq": seq, "id": f"{seq}", "sender": "bob", "ts": seq} for seq in range(1, 5)]
    [ack] = bench.subscribed("r", "1-4-0", request, messages=page, more_before=False)
    assert [message["seq"] for message in ack["messages"]] == [3, 4]  # type: ignore[index]
    assert ack["more_before"]  # type: ignore[index]


@pytest.mark.parametrize("retryable", [True, False])
def test_a_room_that_is_refused_answers_who_asked_and_is_asked_for_no_more(retryable: bool) -> None:
    bench = Bench()
    bench.say(Subscribe(id="s", room="r"))
    request = bench.followed.begin()
    words = {"code": "x", "message": "no", "retryable": retryable}
    [error] = bench.hear(request, type="event", kind="unsubscribed", room="r", **words)
    assert (error["type"], error["id"], error["retryable"]) == ("error", "s", retryable)
    assert bench.followed.begin().places == {}


def test_a_room_that_the_node_ends_is_told_as_it_is() -> None:
    bench = Bench({"r": "1-5-0"})
    [event] = bench.hear(type="event", kind="unsubscribed", room="r", code="forbidden", message="no", retryable=False)
    assert event["kind"] == "unsubscribed"
    assert bench.followed.begin().places == {}


def test_a_new_token_is_answered_by_the_welcome_of_the_request_that_presents_it() -> None:
    bench = Bench()
    bench.welcome()
    bench.say(Refresh(id="n", token="token-2"))
    assert bench.welcome() == [], "of the token before"
    request = bench.followed.begin()
    assert (request.token, request.news) == ("token-2", True)
    [ack] = bench.welcome(request)
    assert (ack["id"], ack["expires_at"]) == ("n", 9_000)


def test_leaving_a_room_and_pings_need_no_node() -> None:
    bench = Bench({"r": "1-5-0"})
    assert bench.say(Unsubscribe(id="u", room="r")) == [{"type": "ack", "id": "u", "room": "r"}]
    assert bench.followed.begin().places == {}
    assert bench.say(Ping(id="p")) == [{"type": "ack", "id": "p"}]
    assert bench.message("r", 6) != [], "the machine drops it"
    assert bench.followed.begin().places == {}


def test_malformed_frames_are_told() -> None:
    with pytest.raises(msgspec.DecodeError):
        Bench().followed.hear(Bench().request, b'{"type":"event","kind":"message"}')


# Answers that are no success.


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        *[("7", 7.0), ("0", 0.0), ("1.5", 1.5), (None, None), ("", None), ("-1", None), ("nan", None), ("inf", None)],
        ("Wed, 21 Oct 2026 07:28:00 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_nothing(value: str | None, seconds: float | None) -> None:
    assert retry_after_of(value) == seconds


def test_a_node_says_itself_whether_a_command_may_come_again() -> None:
    words = {"code": "too_large", "message": "no", "retryable": False, "field": "text"}
    end, error = refusal_of(413, None, json.dumps({"error": words}).encode())
    assert (end, error.code, error.retryable, error.field) == (End(status=413), "too_large", False, "text")
    words = {"code": "rate_limited", "message": "no", "retryable": True, "retry_after": 0.4}
    end, error = refusal_of(429, "1", json.dumps({"error": words}).encode())
    assert (end.retry_after, error.retry_after) == (0.4, 0.4)


@pytest.mark.parametrize("status", [302, 400, 403, 404, 407, 413, 500, 502, 503])
@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff", b'{"error": "no"}'])
def test_whoever_stands_between_refuses_no_command_for_good(status: int, body: bytes) -> None:
    end, error = refusal_of(status, "3", body)
    assert error.retryable
    assert end == End(status=status, retry_after=3.0)


# Addresses.


@pytest.mark.parametrize(
    ("socket", "base"),
    [
        ("wss://chat.example/v1/ws", "https://chat.example/v1/"),
        ("ws://127.0.0.1:8080/v1/ws", "http://127.0.0.1:8080/v1/"),
        ("wss://example.org/chat/v1/ws?x=1", "https://example.org/chat/v1/"),
    ],
)
def test_requests_go_to_what_stands_beside_the_socket(socket: str, base: str) -> None:
    assert base_of(socket) == base


@pytest.mark.parametrize("url", ["http://chat.example/v1/ws", "chat.example", "wss:///v1/ws", ""])
def test_an_address_that_is_no_sockets_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="URI"):
        base_of(url)
