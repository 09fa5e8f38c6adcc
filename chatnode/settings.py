"""What a node or a worker is told from outside: one frozen value, read once from ``CHAT_*`` environment variables.

Every field ``x`` is the variable ``CHAT_X``; a secret may instead be named by ``CHAT_X_FILE``, whose content (without
trailing line ends) is the value. ``docs/configuration.md`` is generated from this module.
"""

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Final, Literal, get_args, get_origin, get_type_hints

PREFIX: Final = "CHAT_"
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SIZE: Final = re.compile(r"(\d{1,18})\s*(B|KiB|MiB|GiB)?", re.IGNORECASE)
_SIZES: Final = {"b": 1, "kib": 1024, "mib": 1024**2, "gib": 1024**3}
_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_FALSE: Final = frozenset({"0", "false", "no", "off"})

JwtAlgorithm = Literal["RS256", "ES256", "EdDSA"]
LogFormat = Literal["json", "text"]
LogLevel = Literal["debug", "info", "warning", "error"]


class SettingsError(ValueError):
    """A variable that cannot be used: which, what it holds (never for a secret), and what is allowed."""

    def __init__(self, variable: str, value: str, allowed: str) -> None:
        super().__init__(f"{variable}={value}: {allowed}")
        self.variable = variable
        self.value = value
        self.allowed = allowed


@dataclass(frozen=True, slots=True)
class About:
    """What a field means, to people."""

    text: str
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    secret: bool = False
    """Never shown, and may come from a file."""
    pattern: str = ""
    """A regular expression for the whole value, or for each entry of a list."""
    bound: bool = False
    """It bounds a queue, a rate or a size: shown in ``docs/limits.md`` too."""


def default_node_id() -> str:
    """The host's name, reduced to what an id may hold: in Kubernetes the name of the pod."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", socket.gethostname()).strip("-")[:64] or "node"


_NATS_URL: Final = r"(nats|tls|ws|wss)://\S+"
_HTTP_URL: Final = r"https?://\S+"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All that can be set; the defaults are those of one node on one machine."""

    nats_url: Annotated[str, About("NATS servers, separated by commas.", secret=True)] = field(
        default="nats://127.0.0.1:4222", repr=False
    )
    nats_ca_file: Annotated[
        str,
        About(
            "File with the authorities (PEM) that NATS servers are checked against; with it, none without TLS is used."
        ),
    ] = ""
    mongodb_uri: Annotated[
        str,
        About("MongoDB replica set; `tls=true&tlsCAFile=…` for TLS.", secret=True, pattern=r"mongodb(\+srv)?://\S+"),
    ] = field(default="mongodb://127.0.0.1:27017", repr=False)
    mongodb_database: Annotated[str, About("Database that holds the history.", pattern=r"[A-Za-z0-9_-]{1,63}")] = "chat"

    node_id: Annotated[
        str, About("Name of this node, unique in the cluster; the host's name by default.", pattern=_ID.pattern)
    ] = field(default_factory=default_node_id)
    host: Annotated[str, About("Address on which clients are served.")] = "127.0.0.1"
    port: Annotated[int, About("Port on which clients are served.", minimum=0, maximum=65535)] = 8081
    admin_host: Annotated[str, About("Address of `/healthz`, `/readyz` and `/metrics`.")] = "127.0.0.1"
    admin_port: Annotated[int, About("Port of `/healthz`, `/readyz` and `/metrics`.", minimum=0, maximum=65535)] = 9100

    local_mode: Annotated[
        bool,
        About(
            "One machine, demo users that need no password, tokens signed with `CHAT_JWT_SECRET`. Never in production."
        ),
    ] = False
    jwt_secret: Annotated[
        str, About("Key that signs and checks tokens (HS256), at least 32 bytes; local mode only.", secret=True)
    ] = field(default="", repr=False)
    jwks_url: Annotated[
        str, About("Where the identity provider publishes its public keys (JWKS).", pattern=_HTTP_URL)
    ] = ""
    jwt_audience: Annotated[str, About("Audience that tokens have to name.")] = "skillhub-chat"
    jwt_issuer: Annotated[str, About("Issuer that tokens have to name; required outside local mode.")] = ""
    jwt_algorithms: Annotated[
        tuple[JwtAlgorithm, ...], About("Signature algorithms accepted from the identity provider.")
    ] = ("RS256", "ES256", "EdDSA")
    allowed_origins: Annotated[
        tuple[str, ...],
        About(
            "Origins of web pages that may connect, as `https://host[:port]`; empty: the node's own origin only.",
            pattern=r"https?://[^/\s]+",
        ),
    ] = ()

    control_token: Annotated[
        str,
        About(
            "Who shows it on the admin port may drain this node and send clients away; empty: nobody.",
            secret=True,
            pattern=r"\S{16,256}",
        ),
    ] = field(default="", repr=False)
    drain_window_s: Annotated[
        float, About("Over how long a node that stops spreads its clients' reconnects.", "s", 0, 3600)
    ] = 30.0
    drain_rate_per_s: Annotated[
        float,
        About("Reconnects that a node that stops asks for, at most; its window grows for it. 0: no limit.", "1/s", 0),
    ] = 0.0
    drain_settle_s: Annotated[
        float, About("How long a node that stops stays unready before it tells its clients to go.", "s", 0, 300)
    ] = 2.0
    max_connections: Annotated[int, About("Connections that a node takes.", "", 1, 1_000_000, bound=True)] = 20_000
    connects_per_s: Annotated[
        float,
        About(
            "Connections that a node accepts, on average; beyond it 503 and Retry-After.",
            "1/s",
            1,
            1_000_000,
            bound=True,
        ),
    ] = 500.0
    connects_burst: Annotated[int, About("Connections that a node accepts at once.", "", 1, 1_000_000, bound=True)] = (
        1000
    )
    joins_at_once: Annotated[
        int, About("Rooms in which clients of a node catch up at the same time.", "", 1, 10_000, bound=True)
    ] = 64
    joins_waiting_max: Annotated[
        int, About("Joins that may wait for that; beyond it they are told to come back.", "", 1, 1_000_000, bound=True)
    ] = 20_000
    rooms_per_connection: Annotated[int, About("Rooms that one connection may follow.", "", 1, 100_000, bound=True)] = (
        500
    )
    command_rate_per_s: Annotated[
        float, About("Commands that a connection may send, on average.", "1/s", 0.1, 1_000_000, bound=True)
    ] = 20.0
    command_burst: Annotated[
        int, About("Commands that a connection may send at once.", "", 1, 1_000_000, bound=True)
    ] = 40
    send_buffer_bytes: Annotated[
        int,
        About(
            "What may wait to be sent to one client; above it the client is closed with 4001.",
            "bytes",
            65_536,
            bound=True,
        ),
    ] = 256 * 1024
    send_buffer_frames: Annotated[
        int,
        About(
            "Frames that may wait to be sent to one client; above it the client is closed with 4001.",
            "",
            16,
            bound=True,
        ),
    ] = 1024
    node_buffer_bytes: Annotated[
        int, About("What may wait to be sent to all clients of a node together.", "bytes", 1_048_576, bound=True)
    ] = 256 * 1024**2
    socket_keep_s: Annotated[
        float, About("How long a suspended node keeps its sockets before it closes them with 4005.", "s", 0, 3600)
    ] = 60.0
    suspend_after_s: Annotated[
        float, About("A node that has not heard control events for so long delivers nothing.", "s", 1, 60)
    ] = 5.0
    room_linger_s: Annotated[
        float, About("How long a node keeps following a room after its last local subscriber left.", "s", 0, 3600)
    ] = 30.0

    stream_replicas: Annotated[int, About("Copies of each stream: 1 for one server, 3 in production.", "", 1, 5)] = 1
    stream_max_bytes: Annotated[
        int,
        About(
            "Size of one partition's stream; when full, sends are refused as retryable.", "bytes", 1_048_576, bound=True
        ),
    ] = 1024**3
    batch_max: Annotated[int, About("Sends of one partition that are stored together.", "", 1, 1000, bound=True)] = 200
    batch_waiting_max: Annotated[
        int,
        About(
            "Sends of one partition that may wait at one node; above it they are refused as retryable.",
            "",
            1,
            bound=True,
        ),
    ] = 4000
    publish_timeout_s: Annotated[
        float, About("How long a send is tried to be stored before it is told to come again.", "s", 0.1, 60)
    ] = 7.0
    retention_hours: Annotated[
        float, About("How long events stay in the streams once they are in MongoDB.", "h", 1, 24 * 365)
    ] = 72.0

    otlp_endpoint: Annotated[
        str, About("Where traces are sent by OTLP over HTTP; empty: nowhere.", pattern=_HTTP_URL)
    ] = ""
    log_level: Annotated[LogLevel, About("Least level that is logged.")] = "info"
    log_format: Annotated[LogFormat, About("`json` for machines, `text` for people.")] = "json"

    @property
    def nats_servers(self) -> list[str]:
        return self.nats_url.split(",")

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> "Settings":
        """Read ``CHAT_*`` out of ``env``; an empty value counts as absent. Raises :class:`SettingsError`."""
        given: dict[str, object] = {}
        for spec in describe():
            raw = _raw(env, spec)
            if raw is not None:
                given[spec.name] = _parse(spec, raw)
        settings = cls(**given)  # type: ignore[arg-type]  # each value was parsed by its own field's type
        settings._check()
        return settings

    def _check(self) -> None:
        if self.jwt_secret and not self.local_mode:
            raise SettingsError(
                "CHAT_JWT_SECRET", "…", "only for CHAT_LOCAL_MODE=true; use CHAT_JWKS_URL in production"
            )
        if self.jwt_secret and len(self.jwt_secret.encode()) < 32:
            raise SettingsError("CHAT_JWT_SECRET", "…", "at least 32 bytes (RFC 7518 §3.2)")
        for url in self.nats_servers:
            if not re.fullmatch(_NATS_URL, url):
                raise SettingsError("CHAT_NATS_URL", "…", "a list of nats:// or tls:// URLs, separated by commas")

    def check_identity(self) -> None:
        """Raise :class:`SettingsError` unless tokens can be verified; what a node needs and a worker does not."""
        if self.local_mode:
            if not self.jwt_secret:
                raise SettingsError("CHAT_JWT_SECRET", "", "local mode needs a key of at least 32 bytes")
            return
        for variable, value in (("CHAT_JWKS_URL", self.jwks_url), ("CHAT_JWT_ISSUER", self.jwt_issuer)):
            if not value:
                raise SettingsError(
                    variable, "", "needed to verify tokens (or CHAT_LOCAL_MODE=true on your own machine)"
                )


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """One setting as the parser and the documentation see it."""

    name: str
    kind: type | object
    about: About
    default: object

    @property
    def variable(self) -> str:
        return PREFIX + self.name.upper()


def describe() -> tuple[FieldSpec, ...]:
    """All settings, in the order in which they are declared."""
    hints = get_type_hints(Settings, include_extras=True)
    specs = []
    for declared in fields(Settings):
        kind, about = get_args(hints[declared.name])
        default = "the host's name" if declared.name == "node_id" else declared.default
        specs.append(FieldSpec(declared.name, kind, about, default))
    return tuple(specs)


def _raw(env: Mapping[str, str], spec: FieldSpec) -> str | None:
    direct = env.get(spec.variable, "").strip()
    named = env.get(f"{spec.variable}_FILE", "").strip() if spec.about.secret else ""
    if direct and named:
        raise SettingsError(f"{spec.variable}_FILE", named, f"not together with {spec.variable}")
    if not named:
        return direct or None
    try:
        content = Path(named).read_text("utf-8").rstrip("\r\n")
    except (OSError, UnicodeError) as error:
        raise SettingsError(f"{spec.variable}_FILE", named, f"a readable text file ({error})") from error
    if not content:
        raise SettingsError(f"{spec.variable}_FILE", named, "a file that is not empty")
    return content


def _parse(spec: FieldSpec, raw: str) -> object:
    kind = spec.kind
    if kind is bool:
        return _parse_bool(spec, raw)
    if kind is int or kind is float:
        return _parse_number(spec, raw)
    if get_origin(kind) is tuple:
        return tuple(_parse_word(spec, get_args(kind)[0], part.strip()) for part in raw.split(",") if part.strip())
    return _parse_word(spec, kind, raw)


def _refuse(spec: FieldSpec, raw: str, allowed: str) -> SettingsError:
    return SettingsError(spec.variable, "…" if spec.about.secret else repr(raw), allowed)


def _parse_bool(spec: FieldSpec, raw: str) -> bool:
    if raw.lower() in _TRUE:
        return True
    if raw.lower() in _FALSE:
        return False
    raise _refuse(spec, raw, "true or false")


def _parse_number(spec: FieldSpec, raw: str) -> float:
    try:
        number = _parse_size(raw) if spec.about.unit == "bytes" else int(raw) if spec.kind is int else float(raw)
    except ValueError:
        raise _refuse(spec, raw, allowed_values(spec)) from None
    low, high = spec.about.minimum, spec.about.maximum
    inside = (low is None or number >= low) and (high is None or number <= high)
    if not inside or number != number or number in (float("inf"), float("-inf")):  # noqa: PLR0124  not a number
        raise _refuse(spec, raw, allowed_values(spec))
    return number


def _parse_size(raw: str) -> int:
    match = _SIZE.fullmatch(raw)
    if match is None:
        raise ValueError(raw)
    return int(match[1]) * _SIZES[(match[2] or "B").lower()]


def _parse_word(spec: FieldSpec, kind: object, raw: str) -> str:
    words = get_args(kind) if get_origin(kind) is Literal else ()
    if (words and raw not in words) or (spec.about.pattern and not re.fullmatch(spec.about.pattern, raw)):
        raise _refuse(spec, raw, allowed_values(spec))
    return raw


def allowed_values(spec: FieldSpec) -> str:
    """What a variable may hold, in words."""
    inner = get_args(spec.kind)[0] if get_origin(spec.kind) is tuple else spec.kind
    many = get_origin(spec.kind) is tuple
    if get_origin(inner) is Literal:
        return ("any of " if many else "one of ") + ", ".join(get_args(inner))
    if inner is bool:
        return "true or false"
    if inner is int or inner is float:
        return _allowed_numbers(spec)
    if spec.about.pattern:
        return ("a list, separated by commas, each matching " if many else "text matching ") + f"`{spec.about.pattern}`"
    return "a list, separated by commas" if many else "text"


def _allowed_numbers(spec: FieldSpec) -> str:
    noun = "a whole number" if spec.kind is int else "a number"
    if spec.about.unit == "bytes":
        noun = "bytes, or a size like 256KiB, 64MiB, 1GiB"
    low, high = spec.about.minimum, spec.about.maximum
    bounds = [f"at least {low:,}"] if low is not None else []
    bounds += [f"at most {high:,}"] if high is not None else []
    return ", ".join([noun, *bounds])
