"""What a command is refused with: by the rules, by its target, by what is away. Pure."""

from typing import Final

from msgspec import Struct

from chatnode.access.rules import Action, decide
from chatnode.protocol.errors import ErrorCode, ProtocolError
from chatnode.protocol.frames import Delete, Edit, Position, React, Send, StoredCommand
from chatnode.rooms.ports import Outcome, Unavailable
from chatnode.rooms.rights import RoomRights

_RETRY_AFTER_S: Final = 1.0

_REFUSALS: Final = {
    ErrorCode.NOT_FOUND: "this room does not exist, or you are not in it",
    ErrorCode.FORBIDDEN: "your role in this room does not allow this",
    ErrorCode.ROOM_CLOSED: "this room is closed; it can be read, not written to",
}


def refusal(code: ErrorCode, command: str | None = None) -> ProtocolError:
    return ProtocolError(code, _REFUSALS[code], command=command)


class Target(Struct, frozen=True):
    """What an edit, delete or reaction is about."""

    author: str
    deleted: bool


def decide_command(
    rights: RoomRights, user: str, command: StoredCommand, target: Target | None
) -> ProtocolError | None:
    own = target is not None and target.author == user
    match command:
        case Send():
            action = Action.SEND
        case React():
            action = Action.REACT
        case Edit():
            if not own:
                return ProtocolError(ErrorCode.FORBIDDEN, "only the author changes a message")
            action = Action.EDIT_OWN
        case Delete():
            action = Action.DELETE_OWN if own else Action.DELETE_ANY
    code = decide(rights.kind, rights.role_of(user), action, closed=rights.closed)
    if code is not None:
        return refusal(code)
    if isinstance(command, Edit | React) and target is not None and target.deleted:
        return ProtocolError(ErrorCode.CONFLICT, "this message was deleted")
    return None


def of_outcome(outcome: Outcome) -> ProtocolError:
    if isinstance(outcome, ProtocolError):
        return outcome
    return ProtocolError(ErrorCode.UNAVAILABLE, f"not confirmed: {outcome}", retry_after=_RETRY_AFTER_S)


def out_of_order() -> ProtocolError:
    return ProtocolError(
        ErrorCode.OUT_OF_ORDER, "an earlier command of this room has failed; send again from that one", retry_after=0.1
    )


def too_late() -> ProtocolError:
    return ProtocolError(ErrorCode.UNAVAILABLE, "this node could not store it in time; send it again", retry_after=0.1)


def busy() -> ProtocolError:
    return ProtocolError(ErrorCode.UNAVAILABLE, "this room is too busy right now; try again", retry_after=0.5)


def away(error: Unavailable) -> ProtocolError:
    return ProtocolError(ErrorCode.UNAVAILABLE, str(error), retry_after=_RETRY_AFTER_S)


def reused(command: StoredCommand) -> ProtocolError:
    return ProtocolError(
        ErrorCode.ID_REUSED, f"id {command.id} already names something else; give this a new id", field="id"
    )


def no_message(position: Position) -> ProtocolError:
    return ProtocolError(
        ErrorCode.NOT_FOUND, f"there is no message at epoch {position.epoch}, seq {position.seq}", field="target"
    )
