"""What a verified token says, checked: an :class:`Identity` or a refusal that says why. Pure; time is passed in."""

import re
from dataclasses import dataclass
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from chatnode.protocol import limits
from chatnode.protocol.envelope import SYSTEM_USER
from chatnode.protocol.errors import ErrorCode, ProtocolError

LEEWAY_S: Final = 10.0
"""How far the clocks of the identity provider and of this node may differ."""

_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_Date = Annotated[float, Meta(ge=0, le=1e11)]
"""NumericDate (RFC 7519 §2): seconds since 1970, a fraction is allowed."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a token is for."""

    user: str
    name: str
    scopes: frozenset[str]
    issued_at: int
    """Milliseconds; what was revoked before a later moment covers it."""
    expires_at: int
    """Milliseconds."""
    jti: str | None = None


class _Claims(Struct, frozen=True):
    sub: str
    iss: str
    aud: str | list[str]
    exp: _Date
    iat: _Date
    nbf: _Date | None = None
    name: str = ""
    scope: str | list[str] = ""
    """Separated by spaces (RFC 8693 §4.2), or a list, as some providers write it."""
    jti: str | None = None


_DECODER: Final = msgspec.json.Decoder(_Claims)


def refused(why: str) -> ProtocolError:
    return ProtocolError(ErrorCode.UNAUTHENTICATED, why)


def early(why: str) -> ProtocolError:
    """Not refused for good: the clock that is wrong may be this node's, and another node takes the token."""
    return ProtocolError(ErrorCode.UNAVAILABLE, why, retry_after=1.0)


def identity_of(payload: bytes, *, audience: str, issuer: str, now_ms: int) -> Identity:
    """The identity that a token's claims (whose signature was verified) give; ``unauthenticated`` with the reason, or
    ``unavailable`` for a token of the future."""
    try:
        claims = _DECODER.decode(payload)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise refused(f"the token's claims are not usable: {error}") from error
    if claims.iss != issuer:
        raise refused("the token is of another issuer")
    if audience not in ([claims.aud] if isinstance(claims.aud, str) else claims.aud):
        raise refused("the token is for another audience")
    _check_times(claims, now_ms / 1000)
    if not _ID.fullmatch(claims.sub) or claims.sub == SYSTEM_USER:
        raise refused("the token's subject is no user id: 1 to 64 of A-Z a-z 0-9 _ -")
    scopes = claims.scope.split(" ") if isinstance(claims.scope, str) else claims.scope
    return Identity(
        user=claims.sub,
        name=_shown(claims.name) or claims.sub,
        scopes=frozenset(scope for scope in scopes if scope),
        issued_at=int(claims.iat * 1000),
        expires_at=int(claims.exp * 1000),
        jti=claims.jti,
    )


def _check_times(claims: _Claims, now: float) -> None:
    if now >= claims.exp + LEEWAY_S:
        raise refused(f"the token expired {now - claims.exp:.0f} s ago; get a new one")
    if claims.iat > now + LEEWAY_S:
        raise early(f"the token was issued {claims.iat - now:.0f} s in the future; check the clocks")
    if claims.nbf is not None and claims.nbf > now + LEEWAY_S:
        raise early(f"the token is not valid for another {claims.nbf - now:.0f} s")


def _shown(name: str) -> str:
    """A name as it may be shown: one line, no control characters, of bounded length."""
    printable = "".join(character if character.isprintable() else " " for character in name)
    return " ".join(printable.split())[: limits.NAME_LENGTH].rstrip()
