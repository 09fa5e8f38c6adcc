"""The one seam through which bodies pass: sealed before they are stored, opened before they are shown.

A key id per author makes erasure possible by destroying a key. :class:`PlainSealer` is the first implementation;
authenticated encryption takes its place behind the same two calls.
"""

from typing import Protocol

from chatnode.protocol.envelope import Sealed


class BodyErased(Exception):
    """The key of this body is gone, and with it what it said."""


class Sealer(Protocol):
    def seal(self, author: str, text: str) -> Sealed: ...

    def open(self, sealed: Sealed) -> str:
        """The text; :class:`BodyErased` when its key was destroyed."""
        ...


class PlainSealer:
    """No encryption; the key id still names the author, so that stored data need no migration."""

    def seal(self, author: str, text: str) -> Sealed:
        return Sealed(f"plain:{author}", text.encode())

    def open(self, sealed: Sealed) -> str:
        return sealed.data.decode()
