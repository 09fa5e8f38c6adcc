"""What a token has to be, claim by claim and key by key."""

import base64
import json
from collections.abc import Callable
from functools import cache
from typing import Final

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from chatnode.identity.claims import LEEWAY_S, Identity, identity_of
from chatnode.identity.keys import KeySetError, parse_key_set
from chatnode.identity.tokens import SecretVerifier, TokenIssuer, TokenRules, issuer_for, verifier_for
from chatnode.protocol.errors import ErrorCode, ProtocolError
from chatnode.settings import Settings, SettingsError

NOW: Final = 1_800_000_000
SECRET: Final = "a secret of this test, long enough"
RULES: Final = TokenRules("skillhub-chat", "https://id.example.org", lambda: NOW * 1000)
GOOD: Final = {
    "sub": "amina",
    "name": "Amina Diallo",
    "iss": "https://id.example.org",
    "aud": "skillhub-chat",
    "iat": NOW - 60,
    "exp": NOW + 600,
}
ALGORITHMS: Final = ("RS256", "ES256", "EdDSA")


def judged(**changes: object) -> Identity:
    claims = {name: value for name, value in {**GOOD, **changes}.items() if value is not ...}
    return identity_of(msgspec.json.encode(claims), audience=RULES.audience, issuer=RULES.issuer, now_ms=RULES.now_ms())


def test_a_good_token_gives_an_identity() -> None:
    assert judged() == Identity(
        user="amina",
        name="Amina Diallo",
        scopes=frozenset(),
        issued_at=(NOW - 60) * 1000,
        expires_at=(NOW + 600) * 1000,
        jti=None,
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sub": ...}, "sub"),
        ({"iss": ...}, "iss"),
        ({"aud": ...}, "aud"),
        ({"exp": ...}, "exp"),
        ({"iat": ...}, "iat"),
        ({"iss": "https://id.example.org.evil"}, "another issuer"),
        ({"iss": "https://id.example.org/"}, "another issuer"),
        ({"aud": "another"}, "another audience"),
        ({"aud": ["another"]}, "another audience"),
        ({"aud": []}, "another audience"),
        ({"exp": NOW - LEEWAY_S}, "expired"),
        ({"exp": "never"}, "exp"),
        ({"exp": 1e300}, "exp"),
        ({"exp": None}, "exp"),
        ({"iat": -1}, "iat"),
        ({"sub": ""}, "user id"),
        ({"sub": "-"}, "user id"),
        ({"sub": "a b"}, "user id"),
        ({"sub": "amina\n"}, "user id"),
        ({"sub": "é"}, "user id"),
        ({"sub": "a" * 65}, "user id"),
        ({"sub": 7}, "sub"),
        ({"name": ["x"]}, "name"),
        ({"scope": 1}, "scope"),
    ],
)
def test_a_token_is_refused_with_the_reason(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ProtocolError, match=words) as refusal:
        judged(**changes)
    assert refusal.value.code is ErrorCode.UNAUTHENTICATED


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"iat": NOW + LEEWAY_S + 1}, "in the future"), ({"nbf": NOW + LEEWAY_S + 1}, "not valid for another")],
)
def test_a_token_of_the_future_may_come_again(changes: dict[str, object], words: str) -> None:
    """A node whose clock is behind cannot say that it is wrong; found by clocks that jump."""
    with pytest.raises(ProtocolError, match=words) as refusal:
        judged(**changes)
    assert refusal.value.code is ErrorCode.UNAVAILABLE
    assert refusal.value.retry_after


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": NOW - LEEWAY_S + 0.5},
        {"iat": NOW + LEEWAY_S},
        {"nbf": NOW + LEEWAY_S},
        {"nbf": NOW - 60},
        {"aud": ["another", "skillhub-chat"]},
        {"sub": "a" * 64},
        {"sub": "--"},
        {"name": ...},
        {"unknown": {"claims": ["are", "passed", "over"]}},
    ],
)
def test_what_is_within_the_rules_is_accepted(changes: dict[str, object]) -> None:
    judged(**changes)


@pytest.mark.parametrize(
    ("scope", "scopes"),
    [
        ("", set()),
        ("chat:admin", {"chat:admin"}),
        ("openid  chat:admin", {"openid", "chat:admin"}),
        (["openid", "chat:admin"], {"openid", "chat:admin"}),
        (["openid chat:admin"], {"openid chat:admin"}),
    ],
)
def test_scopes_come_as_words_or_as_a_list(scope: object, scopes: set[str]) -> None:
    assert judged(scope=scope).scopes == scopes


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("", "amina"),
        (" \n\u202e ", "amina"),
        ("Amina\nDiallo", "Amina Diallo"),
        ("x" * 200, "x" * 100),
    ],
)
def test_a_name_is_one_bounded_line(name: str, shown: str) -> None:
    assert judged(name=name).name == shown


@given(
    st.binary(max_size=200)
    | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps).map(str.encode)
)
def test_whatever_the_claims_are_the_answer_is_an_identity_or_a_refusal(payload: bytes) -> None:
    with pytest.raises(ProtocolError):
        identity_of(payload, audience=RULES.audience, issuer=RULES.issuer, now_ms=RULES.now_ms())


def test_fractions_of_a_second_are_kept() -> None:
    assert judged(iat=NOW - 0.5).issued_at == NOW * 1000 - 500


def signed(secret: str = SECRET, algorithm: str = "HS256", **changes: object) -> str:
    return jwt.encode({**GOOD, **changes}, secret, algorithm=algorithm)


def unsigned(header: dict[str, object], signature: bytes = b"") -> str:
    def part(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    return ".".join((part(json.dumps(header).encode()), part(json.dumps(GOOD).encode()), part(signature)))


async def test_the_secret_of_local_mode_signs_and_verifies() -> None:
    identity = await SecretVerifier(SECRET, RULES).verify(signed(scope="chat:admin"))
    assert (identity.user, identity.scopes) == ("amina", {"chat:admin"})


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "a.b.c",
        "é.é.é",
        "\ud800",
        "x" * 9000,
        signed(secret="another secret, as long as the first"),
        signed(algorithm="HS512", secret=SECRET * 2),
        signed()[:-2] + "AA",
        unsigned({"alg": "none", "typ": "JWT"}),
        unsigned({"alg": "None"}),
        unsigned({"typ": "JWT"}),
        unsigned({"alg": "HS256", "crit": ["exp"]}),
        unsigned({"alg": ["HS256"]}),
    ],
)
async def test_what_the_secret_did_not_sign_is_refused(token: str) -> None:
    with pytest.raises(ProtocolError) as refusal:
        await SecretVerifier(SECRET, RULES).verify(token)
    assert refusal.value.code is ErrorCode.UNAUTHENTICATED
    assert SECRET not in refusal.value.message


@given(st.text(max_size=60))
async def test_no_text_whatever_is_a_token(text: str) -> None:
    with pytest.raises(ProtocolError):
        await SecretVerifier(SECRET, RULES).verify(text)


async def test_an_issued_token_is_good_until_it_ends() -> None:
    now = NOW * 1000
    rules = TokenRules("a", "i", lambda: now)
    token, expires_at = TokenIssuer(SECRET, rules).issue("amina", "Amina", scopes=("one", "two"), lifetime_s=60)
    identity = await SecretVerifier(SECRET, rules).verify(token)
    assert identity == Identity("amina", "Amina", frozenset({"one", "two"}), now, now + 60_000)
    assert expires_at == now + 60_000
    now += 71_000
    with pytest.raises(ProtocolError, match="expired 11 s ago"):
        await SecretVerifier(SECRET, rules).verify(token)


def local(**changes: object) -> Settings:
    return Settings(local_mode=True, jwt_secret=SECRET, **changes)


async def test_local_mode_verifies_what_it_issues() -> None:
    token, _ = issuer_for(local(), RULES.now_ms).issue("amina", "Amina")
    async with verifier_for(local(), RULES.now_ms) as verifier:
        assert (await verifier.verify(token)).user == "amina"
    async with verifier_for(local(jwt_issuer="another"), RULES.now_ms) as verifier:
        with pytest.raises(ProtocolError, match="another issuer"):
            await verifier.verify(token)


async def test_outside_local_mode_nothing_is_signed_and_a_provider_is_needed() -> None:
    with pytest.raises(ValueError, match="local mode only"):
        issuer_for(Settings(), RULES.now_ms)
    with pytest.raises(SettingsError):
        async with verifier_for(Settings(), RULES.now_ms):
            pass


@cache
def pair(kind: str) -> tuple[object, dict[str, object]]:
    """A private key and the public one as JWK."""
    makers: dict[str, Callable[[], object]] = {
        "RS256": lambda: rsa.generate_private_key(65537, 2048),
        "RS256-short": lambda: rsa.generate_private_key(65537, 1024),  # noqa: S505  to be refused
        "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
        "ES384": lambda: ec.generate_private_key(ec.SECP384R1()),
        "EdDSA": ed25519.Ed25519PrivateKey.generate,
    }
    private = makers[kind]()
    algorithm = jwt.get_algorithm_by_name(kind.partition("-")[0])
    return private, algorithm.to_jwk(private.public_key(), as_dict=True)  # type: ignore[attr-defined]


def key_set(*keys: object) -> bytes:
    return msgspec.json.encode({"keys": keys})


@pytest.mark.parametrize("kind", ALGORITHMS)
def test_each_kind_of_key_verifies_its_own_algorithm(kind: str) -> None:
    private, public = pair(kind)
    keys = parse_key_set(key_set({**public, "kid": "k1"}), ALGORITHMS)
    assert set(keys) == {("k1", kind)}
    token = jwt.encode(GOOD, private, algorithm=kind, headers={"kid": "k1"})  # type: ignore[arg-type]
    assert RULES.identity(token, keys["k1", kind], kind).user == "amina"


@pytest.mark.parametrize(
    "change",
    [
        {"use": "enc"},
        {"alg": "RS512"},
        {"alg": "RSA-OAEP"},
        {"key_ops": ["sign"]},
        {"kty": "oct", "k": "c2VjcmV0"},
        {"n": "!!"},
        {"n": ""},
        {"kid": 7},
        {"kty": "??"},
    ],
)
def test_a_key_for_something_else_is_passed_over(change: dict[str, object]) -> None:
    _, usable = pair("RS256")
    keys = parse_key_set(key_set({**usable, "kid": "bad", **change}, {**usable, "kid": "good"}), ALGORITHMS)
    assert set(keys) == {("good", "RS256")}


def test_a_key_of_another_curve_or_of_an_algorithm_that_is_not_accepted_is_passed_over() -> None:
    _, public = pair("ES384")
    with pytest.raises(KeySetError, match="none of its 1 keys"):
        parse_key_set(key_set(public), ALGORITHMS)
    _, public = pair("ES256")
    with pytest.raises(KeySetError, match="none of its 1 keys"):
        parse_key_set(key_set(public), ("RS256",))


def test_a_private_key_that_somebody_published_is_read_as_a_public_one() -> None:
    private, _ = pair("ES256")
    published = jwt.get_algorithm_by_name("ES256").to_jwk(private, as_dict=True)
    assert "d" in published
    [key] = parse_key_set(key_set({**published, "kid": "k"}), ALGORITHMS).values()
    assert not hasattr(key.key, "private_numbers")


def test_a_short_rsa_key_verifies_nothing() -> None:
    private, public = pair("RS256-short")
    [key] = parse_key_set(key_set({**public, "kid": "k"}), ALGORITHMS).values()
    with pytest.warns(jwt.InsecureKeyLengthWarning):
        token = jwt.encode(GOOD, private, algorithm="RS256")  # type: ignore[arg-type]
    with pytest.raises(ProtocolError, match="not valid"):
        RULES.identity(token, key, "RS256")


@pytest.mark.parametrize(
    "data", [b"", b"null", b"[]", b"{}", b'{"keys": 1}', b'{"keys": []}', b'{"keys": [null]}', b"\xff"]
)
def test_what_is_no_key_set_is_refused(data: bytes) -> None:
    with pytest.raises(KeySetError):
        parse_key_set(data, ALGORITHMS)
