"""What goes wrong, as types: refused by the node, no answer in time, or the end of the client."""

from chatnode.protocol.frames import Error


class ClientError(Exception):
    """Base of everything that the client raises by itself."""


class Refused(ClientError):
    """The node refused a command for good; sending it again as it is will fail again.

    ``code`` is one of :class:`chatnode.protocol.errors.ErrorCode`, ``field`` the offending field where one is named.
    """

    def __init__(self, command: str, code: str, message: str, field: str | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.command = command
        self.code = code
        self.message = message
        self.field = field

    @classmethod
    def by(cls, error: Error, command: str) -> "Refused":
        return cls(command, error.code, error.message, error.field if isinstance(error.field, str) else None)


class Unanswered(ClientError):
    """No answer within the caller's deadline. What was asked for may have happened, or may still happen.

    A stored command that was on its way stays in the outbox; send it again with the same ``command`` id and
    ``again=True`` to learn what became of it.
    """

    def __init__(self, command: str, what: str, seconds: float) -> None:
        super().__init__(f"no answer to {what} within {seconds:g} s; its outcome is unknown")
        self.command = command


class Ended(ClientError):
    """The client has ended: closed by its owner, or by the node with a code after which one does not reconnect.

    ``code`` is the WebSocket close code, None when the end came otherwise.
    """

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message if code is None else f"{message} (close code {code})")
        self.code = code


class OutboxFailed(ClientError):
    """The outbox file cannot be read or written. Nothing that it holds was changed."""


class OutboxFull(ClientError):
    """Too many commands are unsent."""


class Withdrawn(ClientError):
    """The command was deleted from the outbox before it had an answer. If it was on its way it may be stored."""

    def __init__(self, command: str) -> None:
        super().__init__(f"the command {command} was deleted from the outbox")
        self.command = command


class Malformed(ClientError):
    """The node answered something that protocol v1 does not allow; node and client are of different versions."""
