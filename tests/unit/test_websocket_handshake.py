"""What a handshake request is answered; allowed and refused requests differ in one thing."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatnode.protocol.errors import ErrorCode
from chatnode.transports.websocket.channel import Refusal
from chatnode.transports.websocket.handshake import Opening, answer, refusal_response

GOOD = {
    "host": "chat.example",
    "upgrade": "websocket",
    "connection": "Upgrade",
    "sec-websocket-version": "13",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    "sec-websocket-protocol": "chat.v1",
}
LISTED = frozenset({"https://platform.example"})


def request(line: str = "GET /v1/ws HTTP/1.1", **changes: str | None) -> bytes:
    headers = GOOD | {name.replace("_", "-"): value for name, value in changes.items()}
    lines = [line, *(f"{name}: {value}" for name, value in headers.items() if value is not None)]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def test_the_answer_is_that_of_the_rfc() -> None:
    opening = answer(request(), LISTED)
    assert isinstance(opening, Opening)
    assert opening.response.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    assert b"\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in opening.response
    assert b"\r\nSec-WebSocket-Protocol: chat.v1\r\n" in opening.response
    assert opening.response.endswith(b"\r\n\r\n")


def test_the_authorization_header_is_handed_on() -> None:
    opening = answer(request(authorization="Bearer abc"), LISTED)
    assert isinstance(opening, Opening)
    assert opening.authorization == "Bearer abc"


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"line": "GET / HTTP/1.1"}, 404, ErrorCode.NOT_FOUND),
        ({"line": "GET /v1/ws/ HTTP/1.1"}, 404, ErrorCode.NOT_FOUND),
        ({"line": "GET /v1/WS HTTP/1.1"}, 404, ErrorCode.NOT_FOUND),
        ({"line": "POST /v1/ws HTTP/1.1"}, 405, ErrorCode.INVALID),
        ({"line": "GET"}, 400, ErrorCode.INVALID),
        ({"upgrade": "h2c"}, 426, ErrorCode.INVALID),
        ({"upgrade": None}, 426, ErrorCode.INVALID),
        ({"sec_websocket_version": "8"}, 426, ErrorCode.INVALID),
        ({"sec_websocket_version": None}, 426, ErrorCode.INVALID),
        ({"sec_websocket_protocol": None}, 400, ErrorCode.INVALID),
        ({"sec_websocket_protocol": "chat.v2"}, 400, ErrorCode.INVALID),
        ({"sec_websocket_key": None}, 400, ErrorCode.INVALID),
        ({"sec_websocket_key": "c2hvcnQ="}, 400, ErrorCode.INVALID),
        ({"sec_websocket_key": "not base64 at all!"}, 400, ErrorCode.INVALID),
        ({"sec_websocket_key": "é"}, 400, ErrorCode.INVALID),
        ({"origin": "https://evil.example"}, 403, ErrorCode.FORBIDDEN),
        ({"origin": "null"}, 403, ErrorCode.FORBIDDEN),
        ({"origin": ""}, 403, ErrorCode.FORBIDDEN),
        ({"origin": "https://chat.example.evil.example"}, 403, ErrorCode.FORBIDDEN),
        ({"origin": "https://chat.example:8443"}, 403, ErrorCode.FORBIDDEN),
        ({"origin": "https://[broken"}, 403, ErrorCode.FORBIDDEN),
        ({"origin": "https://chat.example:port"}, 403, ErrorCode.FORBIDDEN),
        ({"origin": "file://chat.example"}, 403, ErrorCode.FORBIDDEN),
        ({"origin": "https://", "host": ""}, 403, ErrorCode.FORBIDDEN),
        ({"origin": "https://platform.example.evil.example"}, 403, ErrorCode.FORBIDDEN),
    ],
)
def test_a_wrong_request_is_refused_with_the_status_that_says_why(
    changes: dict[str, str | None], status: int, code: ErrorCode
) -> None:
    refusal = answer(request(**changes), LISTED)  # type: ignore[arg-type]
    assert isinstance(refusal, Refusal)
    assert (refusal.status, refusal.code) == (status, code)


@pytest.mark.parametrize(
    "changes",
    [
        {"line": "GET /v1/ws?x=1 HTTP/1.1"},
        {"upgrade": "WebSocket"},
        {"sec_websocket_protocol": "chat.v2, chat.v1"},
        {"origin": None},
        {"origin": "https://chat.example"},
        {"origin": "https://CHAT.example"},
        {"origin": "http://chat.example"},
        {"origin": "https://chat.example", "host": "chat.example:443"},
        {"origin": "http://127.0.0.1:8080", "host": "127.0.0.1:8080"},
        {"origin": "http://[::1]:8080", "host": "[::1]:8080"},
        {"origin": "https://platform.example"},
    ],
)
def test_a_right_request_opens(changes: dict[str, str | None]) -> None:
    assert isinstance(answer(request(**changes), LISTED), Opening)  # type: ignore[arg-type]


def test_subprotocols_may_come_in_several_headers() -> None:
    twice = request().replace(b"\r\n\r\n", b"\r\nsec-websocket-protocol: other\r\n\r\n")
    assert isinstance(answer(twice, LISTED), Opening)


@given(st.binary(max_size=500))
def test_any_bytes_are_answered(data: bytes) -> None:
    assert isinstance(answer(data, LISTED), Refusal)


def test_a_refusal_is_an_http_response_with_the_body_of_rest_errors() -> None:
    refusal = Refusal(ErrorCode.UNAVAILABLE, "the node is full", retry_after=3)
    head, _, body = refusal_response(refusal).partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "HTTP/1.1 503 Service Unavailable"
    assert "Retry-After: 3" in lines
    assert "Connection: close" in lines
    assert f"Content-Length: {len(body)}" in lines
    assert json.loads(body) == {
        "error": {"code": "unavailable", "message": "the node is full", "retryable": True, "retry_after": 3}
    }


def test_a_status_without_a_name_has_none() -> None:
    assert refusal_response(Refusal(ErrorCode.UNAVAILABLE, "gone", status=599)).startswith(b"HTTP/1.1 599 \r\n")
