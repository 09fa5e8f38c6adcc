"""Settings: what is read, what is refused, and that the document says the same."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatnode import reference
from chatnode.settings import Settings, SettingsError, describe

KEY = "k" * 32


def test_an_empty_environment_gives_the_defaults() -> None:
    assert Settings.from_env({}) == Settings()


def test_empty_values_and_other_variables_count_as_absent() -> None:
    assert Settings.from_env({"CHAT_PORT": "", "CHAT_HOST": "  ", "PORT": "9", "CHAT_UNHEARD": "x"}) == Settings()


def test_each_variable_sets_its_field() -> None:
    settings = Settings.from_env(
        {
            "CHAT_NATS_URL": "nats://a:4222,nats://b:4222",
            "CHAT_PORT": "8090",
            "CHAT_LOCAL_MODE": "Yes",
            "CHAT_JWT_SECRET": KEY,
            "CHAT_ALLOWED_ORIGINS": "https://learn.example, https://admin.example",
            "CHAT_DRAIN_WINDOW_S": "1.5",
            "CHAT_SEND_BUFFER_BYTES": "1 MiB",
            "CHAT_JWT_ALGORITHMS": "EdDSA",
            "CHAT_LOG_FORMAT": "text",
        }
    )
    assert settings.nats_servers == ["nats://a:4222", "nats://b:4222"]
    assert settings.port == 8090
    assert settings.local_mode is True
    assert settings.allowed_origins == ("https://learn.example", "https://admin.example")
    assert settings.drain_window_s == 1.5
    assert settings.send_buffer_bytes == 1024**2
    assert settings.jwt_algorithms == ("EdDSA",)
    assert settings.log_format == "text"


@pytest.mark.parametrize(
    ("variable", "value", "allowed"),
    [
        ("CHAT_PORT", "tcp://10.0.0.1:80", "a whole number"),
        ("CHAT_PORT", "65536", "at most 65,535"),
        ("CHAT_PORT", "1.5", "a whole number"),
        ("CHAT_DRAIN_WINDOW_S", "nan", "a number"),
        ("CHAT_DRAIN_WINDOW_S", "inf", "a number"),
        ("CHAT_LOCAL_MODE", "maybe", "true or false"),
        ("CHAT_NODE_ID", "a.b", "text matching"),
        ("CHAT_NODE_ID", "x" * 65, "text matching"),
        ("CHAT_JWT_ALGORITHMS", "RS256,none", "any of RS256, ES256, EdDSA"),
        ("CHAT_JWT_ALGORITHMS", "HS256", "any of"),
        ("CHAT_LOG_LEVEL", "INFO!", "one of debug"),
        ("CHAT_SEND_BUFFER_BYTES", "64 parsecs", "a size like"),
        ("CHAT_SEND_BUFFER_BYTES", "1", "at least 65,536"),
        ("CHAT_ALLOWED_ORIGINS", "https://learn.example/path", "each matching"),
        ("CHAT_JWKS_URL", "ftp://keys", "text matching"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(variable: str, value: str, allowed: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({variable: value})
    assert caught.value.variable == variable
    assert allowed in caught.value.allowed
    assert str(caught.value).startswith(f"{variable}=")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("variable", ["CHAT_MONGODB_URI", "CHAT_NATS_URL"])
def test_a_refused_secret_is_not_shown(variable: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({variable: "amqp://somebody:word@host"})
    assert "word" not in str(caught.value)


def test_secrets_are_not_in_the_representation() -> None:
    settings = Settings.from_env({"CHAT_LOCAL_MODE": "1", "CHAT_JWT_SECRET": KEY})
    assert KEY not in repr(settings)


def test_a_secret_may_come_from_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(f"{KEY}\n", "utf-8")
    settings = Settings.from_env({"CHAT_LOCAL_MODE": "1", "CHAT_JWT_SECRET_FILE": str(secret)})
    assert settings.jwt_secret == KEY


@pytest.mark.parametrize("content", [None, "", "\n"])
def test_a_file_without_a_secret_is_refused(tmp_path: Path, content: str | None) -> None:
    secret = tmp_path / "secret"
    if content is not None:
        secret.write_text(content, "utf-8")
    with pytest.raises(SettingsError, match=r"^CHAT_JWT_SECRET_FILE="):
        Settings.from_env({"CHAT_JWT_SECRET_FILE": str(secret)})


def test_a_secret_is_given_once() -> None:
    with pytest.raises(SettingsError, match="not together"):
        Settings.from_env({"CHAT_JWT_SECRET_FILE": "/dev/null", "CHAT_JWT_SECRET": KEY})


def test_what_is_no_secret_is_not_read_from_files() -> None:
    assert Settings.from_env({"CHAT_PORT_FILE": "/nowhere"}) == Settings()


def test_a_signing_key_is_for_local_mode_only() -> None:
    with pytest.raises(SettingsError, match="CHAT_LOCAL_MODE"):
        Settings.from_env({"CHAT_JWT_SECRET": KEY})


def test_a_short_key_is_refused() -> None:
    with pytest.raises(SettingsError, match="32 bytes"):
        Settings.from_env({"CHAT_LOCAL_MODE": "1", "CHAT_JWT_SECRET": KEY[1:]})


@pytest.mark.parametrize(
    ("env", "missing"),
    [
        ({"CHAT_LOCAL_MODE": "1"}, "CHAT_JWT_SECRET"),
        ({}, "CHAT_JWKS_URL"),
        ({"CHAT_JWKS_URL": "https://id.example/keys"}, "CHAT_JWT_ISSUER"),
    ],
)
def test_a_node_needs_to_know_whom_to_trust(env: dict[str, str], missing: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env(env).check_identity()
    assert caught.value.variable == missing


def test_a_node_with_an_identity_provider_is_complete() -> None:
    env = {"CHAT_JWKS_URL": "https://id.example/keys", "CHAT_JWT_ISSUER": "https://id.example"}
    Settings.from_env(env).check_identity()


@given(st.dictionaries(st.sampled_from([spec.variable for spec in describe()]), st.text()))
def test_any_environment_gives_settings_or_one_typed_error(env: dict[str, str]) -> None:
    with contextlib.suppress(SettingsError):
        assert isinstance(Settings.from_env(env), Settings)


@pytest.mark.parametrize(("path", "content"), reference.pages().items())
def test_reference_pages_say_what_the_code_says(path: str, content: str) -> None:
    assert (reference.ROOT / path).read_text("utf-8") == content, "run: python -m chatnode.reference"


def test_every_limit_is_explained() -> None:
    assert [name for name, _, note in reference.protocol_limits() if not note] == []
