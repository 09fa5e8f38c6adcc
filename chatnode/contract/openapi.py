"""The HTTP interface as an OpenAPI 3.1 document. Bodies come from :mod:`chatnode.protocol.rest`, routes are told here
and compared with the application's by a test."""

from dataclasses import dataclass
from typing import Final

import msgspec

from chatnode.contract.schemas import BODIES, Schema, definitions_of
from chatnode.protocol import limits, rest
from chatnode.protocol.errors import ERRORS, ErrorCode
from chatnode.protocol.ids import ID_PATTERN

_USER: Final = "A person, with their own token."
_MEMBER: Final = "Members of the room; the platform's backend."
_SERVICE: Final = "The platform's backend: a token with the scope `chat:admin`."
_ANYBODY: Final = "Anybody; in local mode only, elsewhere there is no such path."

_COMMON: Final = (ErrorCode.UNAUTHENTICATED, ErrorCode.RATE_LIMITED, ErrorCode.UNAVAILABLE, ErrorCode.INTERNAL)
_IN_ROOM: Final = (ErrorCode.INVALID, ErrorCode.FORBIDDEN, ErrorCode.NOT_FOUND)


@dataclass(frozen=True)
class Frames:
    """A body of frames, whose schemas are in ``schema.json``."""

    about: str
    schema: Schema
    media: str = "application/json"


@dataclass(frozen=True)
class Operation:
    method: str
    path: str
    name: str
    summary: str
    who: str
    answers: dict[int, type[msgspec.Struct] | Frames]
    body: type[msgspec.Struct] | Frames | None = None
    query: tuple[str, ...] = ()
    errors: tuple[ErrorCode, ...] = ()
    keyed: bool = False
    """Takes an ``Idempotency-Key``."""
    token: bool = True


_FRAME: Final[Schema] = {"type": "object", "required": ["type"]}
_COMMANDS: Final = Frames(
    "One `Command` or up to 32 of them.",
    {"oneOf": [_FRAME, {"type": "array", "items": _FRAME, "minItems": 1, "maxItems": 32}]},
)
_REPLIES: Final = Frames("A `Reply` to each command, in their order.", {"type": "array", "items": _FRAME})
_EVENTS: Final = Frames("A `Reply` or `Event` as the data of each event.", {"type": "string"}, "text/event-stream")

OPERATIONS: Final = (
    Operation("get", "/v1/me", "me", "Who one is", _USER, {200: rest.Me}),
    Operation(
        "get", "/v1/rooms", "rooms", "One's rooms, the latest first, with unread counts", _USER, {200: rest.RoomList}
    ),
    Operation(
        "get", "/v1/rooms/{room}", "room", "A room and its members", _MEMBER, {200: rest.ShownRoom}, errors=_IN_ROOM
    ),
    Operation(
        "put",
        "/v1/rooms/{room}",
        "putRoom",
        "Create a course room, or change it and add members",
        _SERVICE,
        {200: rest.ShownRoom},
        body=rest.PutRoom,
        errors=(*_IN_ROOM, ErrorCode.TOO_LARGE, ErrorCode.CONFLICT, ErrorCode.ID_REUSED),
        keyed=True,
    ),
    Operation(
        "put",
        "/v1/rooms/{room}/members/{user}",
        "putMember",
        "Add a member, or change their role",
        "The platform's backend; trainers and moderators of the room.",
        {200: rest.Changed},
        body=rest.PutMember,
        errors=(*_IN_ROOM, ErrorCode.TOO_LARGE, ErrorCode.ROOM_CLOSED, ErrorCode.ID_REUSED),
        keyed=True,
    ),
    Operation(
        "delete",
        "/v1/rooms/{room}/members/{user}",
        "removeMember",
        "Remove a member, or leave",
        "The platform's backend; trainers and moderators of the room; oneself.",
        {200: rest.Changed},
        errors=(*_IN_ROOM, ErrorCode.ROOM_CLOSED, ErrorCode.ID_REUSED),
        keyed=True,
    ),
    Operation(
        "get",
        "/v1/rooms/{room}/messages",
        "messages",
        "A page of messages, the newest without a position",
        _MEMBER,
        {200: rest.MessagePage},
        query=("before", "after", "around", "limit"),
        errors=_IN_ROOM,
    ),
    Operation(
        "post",
        "/v1/direct",
        "openDirect",
        "The room of two people; 201 where it is new",
        _USER,
        {200: rest.ShownRoom, 201: rest.ShownRoom},
        body=rest.OpenDirect,
        errors=(*_IN_ROOM, ErrorCode.TOO_LARGE),
    ),
    Operation(
        "post",
        "/v1/users/{user}/revoke",
        "revoke",
        "Void a person's tokens and close their connections",
        _SERVICE,
        {200: rest.Changed},
        body=rest.Revoke,
        errors=(ErrorCode.INVALID, ErrorCode.FORBIDDEN, ErrorCode.TOO_LARGE, ErrorCode.ID_REUSED),
        keyed=True,
    ),
    Operation(
        "post",
        "/v1/commands",
        "commands",
        "Perform commands without a connection",
        _USER,
        {200: _REPLIES},
        body=_COMMANDS,
        errors=(ErrorCode.INVALID, ErrorCode.TOO_LARGE),
    ),
    Operation(
        "get",
        "/v1/events",
        "events",
        "Follow rooms by server-sent events",
        _USER,
        {200: _EVENTS},
        query=("room",),
        errors=(ErrorCode.INVALID,),
    ),
    Operation(
        "post",
        "/v1/poll",
        "poll",
        "What was missed since these cursors, else what comes next",
        _USER,
        {200: rest.Polled},
        body=rest.Poll,
        errors=(ErrorCode.INVALID, ErrorCode.TOO_LARGE),
    ),
    Operation("get", "/v1/demo/users", "demoUsers", "The demo's people", _ANYBODY, {200: rest.DemoUsers}, token=False),
    Operation(
        "post",
        "/v1/demo/token",
        "demoToken",
        "Sign in as one of the demo's people",
        _ANYBODY,
        {200: rest.DemoToken},
        body=rest.DemoSignIn,
        errors=(ErrorCode.INVALID, ErrorCode.NOT_FOUND, ErrorCode.TOO_LARGE),
        token=False,
    ),
)


def openapi_document() -> Schema:
    paths: dict[str, dict[str, Schema]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Chat protocol v1: HTTP",
            "version": "1.0.0",
            "description": "For the platform's backend and for people's clients. `docs/protocol.md` tells the rules.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": definitions_of(BODIES, "#/components/schemas/{name}"),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }


def _operation(operation: Operation) -> Schema:
    described: Schema = {
        "operationId": operation.name,
        "summary": operation.summary,
        "description": f"Who: {operation.who[0].lower()}{operation.who[1:]}",
        "security": [{"token": []}] if operation.token else [],
        "responses": {
            **{str(status): _answer(kind) for status, kind in operation.answers.items()},
            **_refusals(operation),
        },
    }
    parameters = _parameters(operation)
    if parameters:
        described["parameters"] = parameters
    if operation.body is not None:
        described["requestBody"] = {"required": True, "content": _json(operation.body)}
    return described


def _parameters(operation: Operation) -> list[Schema]:
    path = [part[1:-1] for part in operation.path.split("/") if part.startswith("{")]
    parameters: list[Schema] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "pattern": ID_PATTERN}}
        for name in path
    ]
    for name in operation.query:
        schema: Schema = {"type": "string", "pattern": rest.POSITION_PATTERN}
        if name == "limit":
            schema = {"type": "integer", "minimum": 1, "maximum": limits.PAGE_MAX, "default": limits.PAGE}
        if name == "room":
            schema = {"type": "array", "items": {"type": "string"}, "maxItems": limits.CURSORS}
        parameters.append({"name": name, "in": "query", "schema": schema})
    if operation.keyed:
        parameters.append(
            {
                "name": rest.IDEMPOTENCY_KEY,
                "in": "header",
                "description": "The same request under the same key within two minutes is stored once.",
                "schema": {"type": "string", "minLength": 1, "maxLength": 200},
            }
        )
    return parameters


def _refusals(operation: Operation) -> dict[str, Schema]:
    """By status, naming the codes that come with it."""
    codes = operation.errors + (_COMMON if operation.token else (ErrorCode.INTERNAL,))
    by_status: dict[int, list[ErrorCode]] = {}
    for code in codes:
        by_status.setdefault(ERRORS[code].status, []).append(code)
    return {
        str(status): {
            "description": "; ".join(f"`{code}`: {ERRORS[code].action}" for code in by_status[status]),
            "content": _json(rest.ErrorAnswer),
        }
        for status in sorted(by_status)
    }


def _answer(kind: type[msgspec.Struct] | Frames) -> Schema:
    return {"description": kind.about if isinstance(kind, Frames) else kind.__name__, "content": _json(kind)}


def _json(kind: type[msgspec.Struct] | Frames) -> Schema:
    if isinstance(kind, Frames):
        return {kind.media: {"schema": kind.schema}}
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{kind.__name__}"}}}
