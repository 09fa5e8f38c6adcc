"""The socket as an AsyncAPI 3.0 document, from the node's side: it receives commands, and sends replies and events."""

from typing import Final

import msgspec

from chatnode.contract.schemas import COMMANDS, EVENTS, REPLIES, Schema, definitions_of
from chatnode.protocol import limits
from chatnode.protocol.errors import ERRORS, CloseCode
from chatnode.protocol.frames import (
    Ack,
    Connect,
    Delete,
    Edit,
    Error,
    History,
    Ping,
    Presence,
    React,
    Read,
    Reconnect,
    Refresh,
    Send,
    Subscribe,
    Typing,
    Unsubscribe,
    Welcome,
)

_STORED: Final = ("room", "epoch", "seq", "ts")
ACKED_FIELDS: Final[dict[type[msgspec.Struct], tuple[str, ...]]] = {
    Subscribe: ("room", "recovered", "cursor", "receipts"),
    Unsubscribe: ("room",),
    Send: _STORED,
    Edit: _STORED,
    Delete: _STORED,
    React: _STORED,
    Read: ("room",),
    Typing: ("room",),
    History: ("room", "messages", "more_before", "more_after"),
    Presence: ("room", "count"),
    Refresh: ("expires_at",),
    Ping: ("ts",),
}
"""The fields that the ack of each command always has."""

_DESCRIPTION: Final = (
    f"JSON frames over a WebSocket, subprotocol `chat.v1`. The first frame is `connect`, within "
    f"{limits.CONNECT_TIMEOUT_S:g} s. Each command carries an id and gets exactly one reply with that id; replies to "
    f"different commands may come in any order. A frame may have {limits.FRAME_BYTES} bytes, a text "
    f"{limits.TEXT_BYTES} bytes of UTF-8. A mistake gets an `error`, never a closed socket. `docs/protocol.md` tells "
    "the rules in order."
)


def asyncapi_document() -> Schema:
    schemas = definitions_of((*COMMANDS, *REPLIES, *EVENTS), "#/components/schemas/{name}")
    messages = {
        message_name(kind): _message(kind) for kind in (*COMMANDS, *(r for r in REPLIES if r is not Ack), *EVENTS)
    }
    acks = {ack_name(command): _ack_message(command) for command in ACKED_FIELDS}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Chat protocol v1: the socket",
            "version": "1.0.0",
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {
            "socket": {
                "address": "/v1/ws",
                "title": "The socket of one client",
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in (*messages, *acks)},
                "bindings": {"ws": {"method": "GET"}},
                "x-close-codes": _close_codes(),
            }
        },
        "operations": {**_command_operations(), **_sent_operations()},
        "components": {"messages": {**messages, **acks}, "schemas": schemas, "x-error-codes": _error_codes()},
    }


def message_name(kind: type[msgspec.Struct]) -> str:
    """``send``, ``welcome``; events by their kind, as ``event.message``."""
    tag = str(kind.__struct_config__.tag)
    return f"event.{tag}" if kind in EVENTS else tag


def ack_name(command: type[msgspec.Struct]) -> str:
    return f"ack.{command.__struct_config__.tag}"


def _message(kind: type[msgspec.Struct]) -> Schema:
    return {
        "name": message_name(kind),
        "title": kind.__name__,
        "payload": {"$ref": f"#/components/schemas/{kind.__name__}"},
    }


def _ack_message(command: type[msgspec.Struct]) -> Schema:
    return {
        "name": ack_name(command),
        "title": f"Ack of {command.__struct_config__.tag}",
        "payload": {"allOf": [{"$ref": "#/components/schemas/Ack"}, {"required": list(ACKED_FIELDS[command])}]},
    }


def _command_operations() -> dict[str, Schema]:
    return {
        str(command.__struct_config__.tag): {
            "action": "receive",
            "channel": {"$ref": "#/channels/socket"},
            "messages": [_in_channel(message_name(command))],
            "reply": {
                "channel": {"$ref": "#/channels/socket"},
                "messages": [
                    _in_channel(message_name(Welcome) if command is Connect else ack_name(command)),
                    _in_channel(message_name(Error)),
                ],
            },
        }
        for command in COMMANDS
    }


def _sent_operations() -> dict[str, Schema]:
    sent: dict[str, tuple[type[msgspec.Struct], ...]] = {"events": EVENTS, "reconnect": (Reconnect,)}
    return {
        name: {
            "action": "send",
            "channel": {"$ref": "#/channels/socket"},
            "messages": [_in_channel(message_name(kind)) for kind in kinds],
        }
        for name, kinds in sent.items()
    }


def _in_channel(message: str) -> Schema:
    return {"$ref": f"#/channels/socket/messages/{message}"}


def _close_codes() -> dict[str, Schema]:
    return {str(int(code)): {"name": code.name.lower(), "reconnect": code.reconnect} for code in CloseCode}


def _error_codes() -> dict[str, Schema]:
    return {str(code): {"retryable": rule.retryable, "action": rule.action} for code, rule in ERRORS.items()}
