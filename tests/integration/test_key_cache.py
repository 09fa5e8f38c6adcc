"""The JWKS cache against a real HTTP server that can be slow, wrong, or away."""

import asyncio
import hmac
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import httpx
import jwt
import msgspec
import pytest
import uvicorn
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.utils import base64url_encode
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from chatnode.identity.keys import KeyCache
from chatnode.identity.tokens import KeyVerifier, TokenRules, verifier_for
from chatnode.local.children import free_port
from chatnode.protocol.errors import ErrorCode, ProtocolError
from chatnode.settings import Settings

AUDIENCE: Final = "skillhub-chat"
ISSUER: Final = "https://id.example.org"


def wall() -> int:
    return time.time_ns() // 1_000_000


@dataclass
class Provider:
    """An identity provider: publishes keys, signs tokens."""

    keys: dict[str, ec.EllipticCurvePrivateKey] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    asked: int = 0
    body: bytes | None = None
    status: int = 200
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.gate.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/keys"

    def add(self, kid: str) -> None:
        self.keys[kid] = ec.generate_private_key(ec.SECP256R1())

    def token(self, kid: str, *, by: ec.EllipticCurvePrivateKey | None = None) -> str:
        now = wall() // 1000
        claims = {"sub": "amina", "iss": ISSUER, "aud": AUDIENCE, "iat": now, "exp": now + 600}
        return jwt.encode(claims, by or self.keys[kid], algorithm="ES256", headers={"kid": kid})

    async def publish(self, _request: Request) -> Response:
        self.asked += 1
        await self.gate.wait()
        algorithm = jwt.get_algorithm_by_name("ES256")
        keys = [{**algorithm.to_jwk(key.public_key(), as_dict=True), "kid": kid} for kid, key in self.keys.items()]
        body = msgspec.json.encode({"keys": keys}) if self.body is None else self.body
        return Response(body, self.status, media_type="application/json")

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        async def elsewhere(_request: Request) -> Response:
            return RedirectResponse("/keys")

        app = Starlette(routes=[Route("/keys", self.publish), Route("/elsewhere", elsewhere)])
        config = uvicorn.Config(app, port=self.port, lifespan="off", log_config=None, ws="none")
        server = uvicorn.Server(config)
        server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
        task = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        try:
            yield
        finally:
            self.gate.set()
            server.should_exit = True
            await task


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Bench:
    provider: Provider
    clock: Clock
    cache: KeyCache
    verifier: KeyVerifier


@asynccontextmanager
async def bench(provider: Provider, *, url: str | None = None, deadline_s: float = 5.0) -> AsyncIterator[Bench]:
    clock = Clock()
    rules = TokenRules(AUDIENCE, ISSUER, wall)
    async with KeyCache(url or provider.url, ("ES256",), clock=clock, deadline_s=deadline_s) as cache:
        yield Bench(provider, clock, cache, KeyVerifier(cache, ("ES256",), rules))


@asynccontextmanager
async def bench_that_has_read(provider: Provider) -> AsyncIterator[Bench]:
    """It has used a key; since then the provider is away."""
    async with AsyncExitStack() as stack:
        async with provider.serving():
            at = await stack.enter_async_context(bench(provider))
            await at.verifier.verify(provider.token("k1"))
        yield at


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    found = Provider()
    found.add("k1")
    async with found.serving():
        yield found


async def settled(provider: Provider, asked: int) -> None:
    async with asyncio.timeout(5.0):
        while provider.asked < asked:
            await asyncio.sleep(0.01)


async def test_a_token_is_verified_by_the_key_that_it_names(provider: Provider) -> None:
    async with bench(provider) as at:
        identity = await at.verifier.verify(provider.token("k1"))
        assert identity.user == "amina"


async def test_a_known_key_costs_no_request_and_no_wait(provider: Provider) -> None:
    async with bench(provider) as at:
        await at.verifier.verify(provider.token("k1"))
        provider.gate.clear()
        for _ in range(100):
            verifying = at.verifier.verify(provider.token("k1"))
            with pytest.raises(StopIteration):
                verifying.send(None)
        assert provider.asked == 1


async def test_many_who_wait_for_the_first_keys_share_one_request(provider: Provider) -> None:
    provider.gate.clear()
    async with bench(provider) as at:
        waiting = [asyncio.create_task(at.verifier.verify(provider.token("k1"))) for _ in range(50)]
        await settled(provider, 1)
        waiting[0].cancel()
        provider.gate.set()
        identities = await asyncio.gather(*waiting, return_exceptions=True)
        assert isinstance(identities[0], asyncio.CancelledError)
        assert all(not isinstance(each, BaseException) for each in identities[1:])
        assert provider.asked == 1


async def test_a_new_key_is_found_at_once_and_unknown_ones_do_not_hammer_the_provider(provider: Provider) -> None:
    async with bench(provider) as at:
        await at.verifier.verify(provider.token("k1"))
        provider.add("k2")
        at.clock.now += 11
        assert (await at.verifier.verify(provider.token("k2"))).user == "amina"
        assert provider.asked == 2
        stranger = ec.generate_private_key(ec.SECP256R1())
        for number in range(50):
            with pytest.raises(ProtocolError, match="does not publish") as refusal:
                await at.verifier.verify(provider.token(f"guess-{number}", by=stranger))
            assert refusal.value.code is ErrorCode.UNAUTHENTICATED
        assert provider.asked == 2
        at.clock.now += 11
        with pytest.raises(ProtocolError, match="does not publish"):
            await at.verifier.verify(provider.token("guess", by=stranger))
        assert provider.asked == 3


async def test_a_key_that_signs_under_the_name_of_another_is_refused(provider: Provider) -> None:
    async with bench(provider) as at:
        with pytest.raises(ProtocolError, match="Signature verification failed"):
            await at.verifier.verify(provider.token("k1", by=ec.generate_private_key(ec.SECP256R1())))


async def test_old_keys_are_read_again_in_the_background_and_a_withdrawn_one_ends(provider: Provider) -> None:
    async with bench(provider) as at:
        withdrawn = provider.token("k1")
        await at.verifier.verify(withdrawn)
        provider.add("k2")
        del provider.keys["k1"]
        at.clock.now += 301
        assert (await at.verifier.verify(withdrawn)).user == "amina"
        await settled(provider, 2)
        async with asyncio.timeout(5.0):
            while True:
                try:
                    await at.verifier.verify(withdrawn)
                except ProtocolError:
                    break
                await asyncio.sleep(0.01)
        assert (await at.verifier.verify(provider.token("k2"))).user == "amina"


async def test_keys_stay_in_use_while_the_provider_is_away() -> None:
    provider = Provider()
    provider.add("k1")
    async with bench_that_has_read(provider) as at:
        at.clock.now += 301
        for _ in range(3):
            assert (await at.verifier.verify(provider.token("k1"))).user == "amina"
            await asyncio.sleep(0.05)
        provider.add("k2")
        at.clock.now += 2
        with pytest.raises(ProtocolError, match="cannot be checked") as refusal:
            await at.verifier.verify(provider.token("k2"))
        assert refusal.value.code is ErrorCode.UNAVAILABLE
        assert refusal.value.retryable
        async with provider.serving():
            at.clock.now += 2
            assert (await at.verifier.verify(provider.token("k2"))).user == "amina"


async def test_keys_that_have_not_been_read_for_a_day_are_good_for_nobody() -> None:
    provider = Provider()
    provider.add("k1")
    async with bench_that_has_read(provider) as at:
        at.clock.now += 86_401
        with pytest.raises(ProtocolError) as refusal:
            await at.verifier.verify(provider.token("k1"))
        assert refusal.value.code is ErrorCode.UNAVAILABLE
        async with provider.serving():
            at.clock.now += 2
            assert (await at.verifier.verify(provider.token("k1"))).user == "amina"


async def test_ending_before_the_first_read_began_ends(provider: Provider) -> None:
    async with asyncio.timeout(2.0), bench(provider):
        pass


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"<html>", 200), (b'{"keys": []}', 200), (b"", 500), (b'{"keys":[' + b" " * 600_000 + b"]}", 200)],
)
async def test_a_wrong_answer_of_the_provider_is_retryable_for_its_users(
    provider: Provider, body: bytes, status: int
) -> None:
    provider.body, provider.status = body, status
    async with bench(provider) as at:
        with pytest.raises(ProtocolError) as refusal:
            await at.verifier.verify(provider.token("k1"))
        assert refusal.value.code is ErrorCode.UNAVAILABLE
        provider.body, provider.status = None, 200
        at.clock.now += 11
        assert (await at.verifier.verify(provider.token("k1"))).user == "amina"


async def test_a_redirect_is_not_followed(provider: Provider) -> None:
    async with bench(provider, url=provider.url.replace("/keys", "/elsewhere")) as at:
        with pytest.raises(ProtocolError, match="cannot be checked"):
            await at.verifier.verify(provider.token("k1"))
        assert provider.asked == 0


async def test_a_provider_that_does_not_answer_costs_a_bounded_wait(provider: Provider) -> None:
    provider.gate.clear()
    async with bench(provider, deadline_s=0.3) as at:
        began = time.monotonic()
        with pytest.raises(ProtocolError, match="cannot be checked"):
            await at.verifier.verify(provider.token("k1"))
        assert time.monotonic() - began < 2.0


async def test_ending_does_not_wait_for_a_provider_that_hangs(provider: Provider) -> None:
    provider.gate.clear()
    began = time.monotonic()
    async with bench(provider):
        await settled(provider, 1)
    assert time.monotonic() - began < 2.0


async def test_the_algorithm_of_the_key_counts_not_that_of_the_token(provider: Provider) -> None:
    """RFC 8725 §2.1: a public key must not be usable as an HMAC secret."""
    async with bench(provider) as at:
        public = provider.keys["k1"].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        head, body, _ = provider.token("k1").split(".")
        head = base64url_encode(b'{"alg":"HS256","kid":"k1"}').decode()
        signature = hmac.digest(public, f"{head}.{body}".encode(), "sha256")
        forged = f"{head}.{body}.{base64url_encode(signature).decode()}"
        with pytest.raises(ProtocolError, match="algorithm that is not accepted"):
            await at.verifier.verify(forged)


async def test_production_settings_verify_by_the_provider(provider: Provider) -> None:
    settings = Settings(jwks_url=provider.url, jwt_issuer=ISSUER, jwt_audience=AUDIENCE)
    async with verifier_for(settings, wall) as verifier:
        assert (await verifier.verify(provider.token("k1"))).user == "amina"


@pytest.mark.parametrize("token", ["", "a.b.c", "x" * 9000, "é.é.é"])
async def test_what_is_no_token_does_not_reach_the_provider(provider: Provider, token: str) -> None:
    async with bench(provider) as at:
        await settled(provider, 1)
        with pytest.raises(ProtocolError) as refusal:
            await at.verifier.verify(token)
        assert refusal.value.code is ErrorCode.UNAUTHENTICATED
        assert provider.asked == 1


async def test_a_connection_that_uvloop_has_closed_already_is_retryable_as_any_that_is_lost() -> None:
    """anyio asks the socket for its peer; of a connection that was reset as it was made there is none any more."""

    async def lost(_request: httpx.Request) -> httpx.Response:
        raise AttributeError("'NoneType' object has no attribute 'getpeername'")

    async with (
        httpx.AsyncClient(transport=httpx.MockTransport(lost)) as client,
        KeyCache("http://127.0.0.1:9/keys", ["ES256"], clock=time.monotonic, client=client) as keys,
    ):
        with pytest.raises(ProtocolError) as caught:
            await keys.find("one", "ES256")
    assert caught.value.code == ErrorCode.UNAVAILABLE
