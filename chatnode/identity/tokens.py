"""Tokens: verified with the identity provider's keys, or with the one secret of local mode, which also signs them."""

import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, Protocol

import jwt

from chatnode.identity.claims import Identity, identity_of, refused
from chatnode.identity.keys import KeyCache
from chatnode.protocol import limits
from chatnode.protocol.errors import ErrorCode, ProtocolError
from chatnode.settings import Settings

__all__ = [
    "LOCAL_ISSUER",
    "Identity",
    "KeyVerifier",
    "SecretVerifier",
    "TokenIssuer",
    "TokenRules",
    "Verifier",
    "issuer_for",
    "verifier_for",
]

LOCAL_ISSUER: Final = "chatcluster-local"
_LOCAL_ALGORITHM: Final = "HS256"
_SIGNATURES: Final = jwt.PyJWS(options={"verify_signature": True, "enforce_minimum_key_length": True})


class Verifier(Protocol):
    async def verify(self, token: str) -> Identity:
        """Who the token is for. :class:`ProtocolError`: ``unauthenticated`` with the reason, or ``unavailable`` when
        it cannot be checked now."""
        ...


@dataclass(frozen=True, slots=True)
class TokenRules:
    """What every token has to say, and the time of day (milliseconds) by which it is judged."""

    audience: str
    issuer: str
    now_ms: Callable[[], int]

    def identity(self, token: str, key: jwt.PyJWK | bytes, algorithm: str) -> Identity:
        try:
            verified = _SIGNATURES.decode_complete(token, key, algorithms=[algorithm])
        except jwt.PyJWTError as error:
            raise refused(f"the token is not valid: {error}") from error
        return identity_of(verified["payload"], audience=self.audience, issuer=self.issuer, now_ms=self.now_ms())


class SecretVerifier:
    """HS256 with a shared secret: local mode only, and no other algorithm."""

    def __init__(self, secret: str, rules: TokenRules) -> None:
        self._secret = secret.encode()
        self._rules = rules

    async def verify(self, token: str) -> Identity:
        _check_size(token)
        return self._rules.identity(token, self._secret, _LOCAL_ALGORITHM)


class KeyVerifier:
    """RS256, ES256 or EdDSA, whichever the key that the token names is for."""

    def __init__(self, keys: KeyCache, algorithms: Collection[str], rules: TokenRules) -> None:
        self._keys = keys
        self._algorithms = frozenset(algorithms)
        self._rules = rules

    async def verify(self, token: str) -> Identity:
        _check_size(token)
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError as error:
            raise refused(f"the token is not valid: {error}") from error
        algorithm, kid = header.get("alg"), header.get("kid")
        if not isinstance(algorithm, str) or algorithm not in self._algorithms:
            raise refused(f"the token is signed by an algorithm that is not accepted: {str(algorithm)[:20]!r}")
        key = await self._keys.find(kid, algorithm)
        if key is None:
            raise refused(f"the token is signed by a key that the identity provider does not publish: {kid!r:.80}")
        return self._rules.identity(token, key, algorithm)


class TokenIssuer:
    """Signs tokens of local mode, for its demo users and its own tools."""

    def __init__(self, secret: str, rules: TokenRules) -> None:
        self._secret = secret.encode()
        self._rules = rules

    def issue(self, user: str, name: str, *, scopes: Collection[str] = (), lifetime_s: int = 3600) -> tuple[str, int]:
        """A token and when it ends, in milliseconds."""
        issued_at = self._rules.now_ms() // 1000
        expires_at = issued_at + lifetime_s
        claims = {
            "sub": user,
            "name": name,
            "iss": self._rules.issuer,
            "aud": self._rules.audience,
            "iat": issued_at,
            "exp": expires_at,
            "scope": " ".join(scopes),
        }
        return jwt.encode(claims, self._secret, algorithm=_LOCAL_ALGORITHM), expires_at * 1000


def rules_for(settings: Settings, now_ms: Callable[[], int]) -> TokenRules:
    issuer = settings.jwt_issuer or (LOCAL_ISSUER if settings.local_mode else "")
    return TokenRules(settings.jwt_audience, issuer, now_ms)


def issuer_for(settings: Settings, now_ms: Callable[[], int]) -> TokenIssuer:
    """:class:`ValueError` outside local mode."""
    if not settings.local_mode:
        raise ValueError("tokens are signed here in local mode only; elsewhere the identity provider does it")
    return TokenIssuer(settings.jwt_secret, rules_for(settings, now_ms))


@asynccontextmanager
async def verifier_for(
    settings: Settings, now_ms: Callable[[], int], *, clock: Callable[[], float] = time.monotonic
) -> AsyncIterator[Verifier]:
    """The verifier that the settings ask for; :class:`chatnode.settings.SettingsError` when they name none."""
    settings.check_identity()
    rules = rules_for(settings, now_ms)
    if settings.local_mode:
        yield SecretVerifier(settings.jwt_secret, rules)
        return
    async with KeyCache(settings.jwks_url, settings.jwt_algorithms, clock=clock) as keys:
        yield KeyVerifier(keys, settings.jwt_algorithms, rules)


def _check_size(token: str) -> None:
    if len(token) > limits.TOKEN_BYTES:
        raise ProtocolError(
            ErrorCode.UNAUTHENTICATED, f"the token has {len(token)} characters; the limit is {limits.TOKEN_BYTES}"
        )
    if not token.isascii():
        raise refused("the token is not valid: it holds characters that no token has")
