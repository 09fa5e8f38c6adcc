"""The identity provider's public keys: read from its JWKS URL (RFC 7517), kept, read again when they may have changed.

While the key that a token names is known, :meth:`KeyCache.find` awaits nothing. Keys stay in use while the provider is
away.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from types import TracebackType
from typing import Final, Self

import httpx
import jwt
import msgspec
from msgspec import Struct

from chatnode.protocol.errors import ErrorCode, ProtocolError

log = logging.getLogger(__name__)

_BYTES_MAX: Final = 512 * 1024
_RETRY_S: Final = 1.0
_ALGORITHMS: Final[Mapping[tuple[str, str], str]] = {
    ("RSA", ""): "RS256",
    ("EC", "P-256"): "ES256",
    ("OKP", "Ed25519"): "EdDSA",
}
"""The one algorithm that a key of this type and curve verifies, whatever a token's header asks for (RFC 8725 §3.1)."""


class KeySetError(ValueError):
    """What the provider answered holds no key that can be used."""


class _Jwk(Struct, frozen=True):
    """The public members of a key; a private one, if somebody published it, is not read."""

    kty: str
    kid: str | None = None
    use: str = "sig"
    key_ops: tuple[str, ...] = ("verify",)
    alg: str | None = None
    crv: str = ""
    n: str = ""
    e: str = ""
    x: str = ""
    y: str = ""


class _KeySet(Struct, frozen=True):
    keys: list[msgspec.Raw]


KeySet = Mapping[tuple[str | None, str], jwt.PyJWK]
"""By key id and algorithm."""


def parse_key_set(data: bytes, algorithms: Collection[str]) -> KeySet:
    """The usable keys of a JWKS, for the algorithms that are allowed; others are passed over. :class:`KeySetError`."""
    try:
        entries = msgspec.json.decode(data, type=_KeySet).keys
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise KeySetError(f"not a key set: {error}") from error
    usable: dict[tuple[str | None, str], jwt.PyJWK] = {}
    for entry in entries:
        key = _usable_key(entry, algorithms)
        if key is not None:
            usable.setdefault((key.key_id, key.algorithm_name), key)
    if not usable:
        raise KeySetError(f"none of its {len(entries)} keys is a signature key for {', '.join(sorted(algorithms))}")
    return usable


def _usable_key(entry: msgspec.Raw, algorithms: Collection[str]) -> jwt.PyJWK | None:
    try:
        jwk = msgspec.json.decode(entry, type=_Jwk)
    except (msgspec.DecodeError, UnicodeError) as error:
        log.warning("a key of the key set is passed over: %s", error)
        return None
    algorithm = _ALGORITHMS.get((jwk.kty, jwk.crv))
    if algorithm not in algorithms or jwk.use != "sig" or "verify" not in jwk.key_ops:
        return None
    if jwk.alg not in (None, algorithm):
        return None
    members = {name: value for name, value in msgspec.structs.asdict(jwk).items() if isinstance(value, str) and value}
    try:
        return jwt.PyJWK(members, algorithm)
    except jwt.PyJWTError as error:
        log.warning("key %r of the key set is passed over: %s", jwk.kid, error)
        return None


class KeyCache:
    """An async context manager; ``clock`` gives monotonic seconds.

    Keys older than ``ttl_s`` are read again in the background, and so are they when a token names one that is not
    known, which then waits for it; never more than one read at a time, and one per ``interval_s`` (one a second while
    the provider is away). While it is away the keys stay in use, for ``keep_s`` at most: one of them may have been
    withdrawn meanwhile.
    """

    def __init__(
        self,
        url: str,
        algorithms: Collection[str],
        *,
        clock: Callable[[], float],
        ttl_s: float = 300.0,
        keep_s: float = 86_400.0,
        interval_s: float = 10.0,
        deadline_s: float = 5.0,
        client: httpx.AsyncClient | None = None,
    ) -> None:
        self._url = url
        self._algorithms = frozenset(algorithms)
        self._clock = clock
        self._ttl_s = ttl_s
        self._keep_s = keep_s
        self._interval_s = interval_s
        self._deadline_s = deadline_s
        self._client = client or httpx.AsyncClient(
            # Under uvloop a connection that is reset while it is kept would fail every later request (anyio 4.16).
            follow_redirects=False,
            timeout=deadline_s,
            headers={"connection": "close"},
        )
        self._keys: KeySet = {}
        self._read_at = float("-inf")
        self._asked_at = float("-inf")
        self._failure: str | None = None
        self._reading: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._read_soon()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._reading is not None and not self._reading.done():
            self._reading.cancel()
            await asyncio.wait((self._reading,), timeout=0.1)
        await self._client.aclose()

    async def find(self, kid: str | None, algorithm: str) -> jwt.PyJWK | None:
        """The key that a token names, None when the provider has none such; ``unavailable`` when it cannot be asked."""
        key = self._known(kid, algorithm)
        if key is not None:
            if self._clock() - self._read_at > self._ttl_s:
                self._read_soon()
            return key
        self._read_soon()
        if self._reading is not None:
            await asyncio.shield(self._reading)
            key = self._known(kid, algorithm)
        if key is None and self._failure is not None:
            raise ProtocolError(
                ErrorCode.UNAVAILABLE,
                "the token cannot be checked: the identity provider's keys cannot be read now",
                retry_after=_RETRY_S,
            )
        return key

    def _known(self, kid: str | None, algorithm: str) -> jwt.PyJWK | None:
        if self._clock() - self._read_at > self._keep_s:
            return None
        if kid is not None:
            return self._keys.get((kid, algorithm)) or self._keys.get((None, algorithm))
        candidates = [key for (_, name), key in self._keys.items() if name == algorithm]
        return candidates[0] if len(candidates) == 1 else None

    def _read_soon(self) -> None:
        """Begin a read unless one is under way or there was one just now."""
        pause = self._interval_s if self._failure is None else min(self._interval_s, _RETRY_S)
        if self._reading is not None or self._clock() - self._asked_at < pause:
            return
        self._asked_at = self._clock()
        self._reading = asyncio.create_task(self._read(), name="key set")
        self._reading.add_done_callback(self._read_ended)

    async def _read(self) -> None:
        try:
            async with asyncio.timeout(self._deadline_s):
                data = await self._fetch()
            self._keys = parse_key_set(data, self._algorithms)
            self._read_at = self._clock()
            self._failure = None
        except (TimeoutError, httpx.HTTPError, KeySetError) as error:
            self._failure = f"{type(error).__name__}: {error}"
            log.error(  # noqa: TRY400  the provider's trouble, not a defect here
                "the key set at %s cannot be read, %d keys stay in use: %s", self._url, len(self._keys), self._failure
            )

    def _read_ended(self, _reading: asyncio.Task[None]) -> None:
        self._reading = None

    async def _fetch(self) -> bytes:
        data = bytearray()
        try:
            async with self._client.stream("GET", self._url, headers={"accept": "application/json"}) as response:
                if response.status_code != 200:
                    raise KeySetError(f"HTTP status {response.status_code}")
                async for chunk in response.aiter_bytes():
                    data += chunk
                    if len(data) > _BYTES_MAX:
                        raise KeySetError(f"more than {_BYTES_MAX} bytes")
        except AttributeError as error:
            # Under uvloop anyio says so of a connection that was reset as it was made (`chatclient.lines.network`).
            raise KeySetError("the connection was lost") from error
        return bytes(data)
