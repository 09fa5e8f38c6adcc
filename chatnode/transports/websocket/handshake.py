"""The opening handshake (RFC 6455 §4.2) without I/O: what a request is answered."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import SplitResult, urlsplit

from chatnode.protocol.errors import ERRORS, ErrorCode
from chatnode.transports.websocket.channel import PATH, SUBPROTOCOL, Refusal

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Opening:
    """A request that may become a socket."""

    response: bytes
    authorization: str | None


def answer(request: bytes, allowed_origins: Collection[str]) -> Opening | Refusal:
    """Judge a whole request header, as an HTTP parser that checks it hands it on; total over any bytes."""
    line, _, rest = request.partition(b"\r\n")
    words = line.decode("latin-1").split(" ")
    if len(words) != 3:
        return Refusal(ErrorCode.INVALID, "not an HTTP request line", 400)
    method, target, _ = words
    headers = _headers(rest)
    return (
        _refuse_request(method, target)
        or _refuse_version(headers)
        or _refuse_origin(headers, allowed_origins)
        or _refuse_subprotocol(headers)
        or _open(headers)
    )


def _headers(block: bytes) -> Mapping[str, str]:
    """Lower-case names to values; those of a repeated header joined by commas (RFC 9110 §5.3)."""
    headers: dict[str, str] = {}
    for line in block.decode("latin-1").split("\r\n"):
        name, colon, value = line.partition(":")
        if colon:
            key = name.strip().lower()
            headers[key] = f"{headers[key]}, {value.strip()}" if key in headers else value.strip()
    return headers


def _tokens(value: str) -> list[str]:
    return [token.strip() for token in value.split(",")]


def _refuse_request(method: str, target: str) -> Refusal | None:
    if target.partition("?")[0] != PATH:
        return Refusal(ErrorCode.NOT_FOUND, f"no WebSocket here; the address is {PATH}", 404)
    if method != "GET":
        return Refusal(ErrorCode.INVALID, "a WebSocket begins with GET", 405, headers=(("Allow", "GET"),))
    return None


def _refuse_version(headers: Mapping[str, str]) -> Refusal | None:
    upgrade = [token.lower() for token in _tokens(headers.get("upgrade", ""))]
    if "websocket" not in upgrade:
        return Refusal(ErrorCode.INVALID, "needs Upgrade: websocket", 426, headers=(("Upgrade", "websocket"),))
    if headers.get("sec-websocket-version") != "13":
        message = "only WebSocket version 13 is spoken here"
        return Refusal(ErrorCode.INVALID, message, 426, headers=(("Sec-WebSocket-Version", "13"),))
    return None


def _refuse_origin(headers: Mapping[str, str], allowed: Collection[str]) -> Refusal | None:
    """Browsers always say from which page a socket is opened; what says nothing is no browser (RFC 6455 §10.2)."""
    origin = headers.get("origin")
    if origin is None or origin in allowed:
        return None
    host = headers.get("host", "")
    try:
        page = urlsplit(origin)
        node = urlsplit(f"{page.scheme}://{host}")
        same = page.scheme in _DEFAULT_PORTS and page.hostname is not None and _authority(page) == _authority(node)
    except ValueError:
        same = False
    if same:
        return None
    return Refusal(ErrorCode.FORBIDDEN, "pages of this origin may not connect; list it in CHAT_ALLOWED_ORIGINS", 403)


def _authority(url: SplitResult) -> tuple[str | None, int | None]:
    return url.hostname, url.port or _DEFAULT_PORTS.get(url.scheme)


def _refuse_subprotocol(headers: Mapping[str, str]) -> Refusal | None:
    if SUBPROTOCOL in _tokens(headers.get("sec-websocket-protocol", "")):
        return None
    return Refusal(ErrorCode.INVALID, f"offer the subprotocol {SUBPROTOCOL} (Sec-WebSocket-Protocol)", 400)


def _open(headers: Mapping[str, str]) -> Opening | Refusal:
    key = headers.get("sec-websocket-key", "")
    try:
        nonce = base64.b64decode(key, validate=True)
    except (binascii.Error, ValueError):
        nonce = b""
    if len(nonce) != 16:
        return Refusal(ErrorCode.INVALID, "Sec-WebSocket-Key has to be 16 bytes in base64", 400)
    accept = base64.b64encode(hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest())
    response = (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
        + accept
        + b"\r\nSec-WebSocket-Protocol: "
        + SUBPROTOCOL.encode()
        + b"\r\n\r\n"
    )
    return Opening(response, headers.get("authorization"))


def refusal_response(refusal: Refusal) -> bytes:
    """The HTTP response that says so, with the same JSON body as errors of REST; the connection ends with it."""
    error: dict[str, object] = {
        "code": refusal.code,
        "message": refusal.message,
        "retryable": ERRORS[refusal.code].retryable,
    }
    headers = list(refusal.headers)
    if refusal.retry_after is not None:
        error["retry_after"] = refusal.retry_after
        headers.append(("Retry-After", str(refusal.retry_after)))
    body = json.dumps({"error": error}, separators=(",", ":")).encode()
    headers += [("Content-Type", "application/json"), ("Content-Length", str(len(body))), ("Connection", "close")]
    lines = [f"HTTP/1.1 {refusal.status} {_phrase(refusal.status)}", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
