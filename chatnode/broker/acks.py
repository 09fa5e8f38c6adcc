"""What JetStream answers to a publish."""

from typing import Final

import msgspec
from msgspec import Struct


class PubError(Struct, frozen=True):
    code: int = 0
    err_code: int = 0
    description: str = ""

    def __str__(self) -> str:
        return f"{self.description} ({self.err_code})"


class PubAck(Struct, frozen=True):
    """``error`` is set where nothing was stored; ``count`` is the size of an atomic batch (ADR-50)."""

    seq: int = 0
    duplicate: bool = False
    count: int = 0
    error: PubError | None = None


_DECODER: Final = msgspec.json.Decoder(PubAck)


def decode_ack(data: bytes) -> PubAck:
    """:class:`msgspec.DecodeError` where it is no ack."""
    return _DECODER.decode(data)
