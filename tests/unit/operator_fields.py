"""The fields of a ChatCluster, each with what it needs to have a meaning and with another value for it."""

import copy
from collections.abc import Iterator, Mapping

import msgspec

from chatoperator import crd
from chatoperator.objects import Json, at, items, mapping, number, text
from chatoperator.spec import parse
from tests.unit.operator_cases import resource

NOT_OBJECTS = {
    "partitions": "has one value",
    "drain.deadlineSeconds": "is looked at while a batch is under way",
}
"""Those of ``autoscaling`` are decisions over time, with tests of their own; ``auth`` is given whole (below)."""
GATEWAY = {"type": "gateway", "gateway": {"name": "g"}}
INGRESS = {"type": "ingress", "host": "chat.test", "ingress": {"profile": "traefik"}}
CONTEXTS: tuple[tuple[str, Mapping[str, object]], ...] = (
    ("nats.external", {"nats": {"external": {"secret": "s"}}}),
    ("mongodb.external", {"mongodb": {"external": {"secret": "s"}}}),
    ("exposure.gateway", {"exposure": GATEWAY}),
    ("exposure.ingress", {"exposure": INGRESS}),
    ("exposure.tlsSecret", {"exposure": INGRESS}),
    ("exposure.host", {"exposure": INGRESS}),
    ("exposure.type", {"exposure": {**GATEWAY, **INGRESS, "type": "gateway"}}),
    ("tls.issuer", {"tls": {"certificates": "CertManager", "issuer": {"name": "i"}}}),
    ("tls.natsSecret", {"tls": {"certificates": "Secret", "natsSecret": "nats", "mongodbSecret": "mongodb"}}),
    ("tls.mongodbSecret", {"tls": {"certificates": "Secret", "natsSecret": "nats", "mongodbSecret": "mongodb"}}),
    ("tls.certificates", {"tls": {"issuer": {"name": "i"}, "natsSecret": "nats", "mongodbSecret": "mongodb"}}),
    ("nodes.max", {"nodes": {"replicas": 12, "max": 9}, "autoscaling": {"mode": "Off"}}),
    ("nodes.replicas", {"autoscaling": {"mode": "Off"}}),
)
"""What has to be there for a field to have a meaning."""
TEXTS = {
    "^https?://": "https://other.test/path",
    "^(https?://": "https://other.test",
    "^[0-9]+(Mi|Gi|Ti)$": "7Gi",
}


def leaves(schema: Json, path: str = "") -> Iterator[tuple[str, Json]]:
    for name, inner in mapping(schema, "properties").items():
        below = f"{path}.{name}".strip(".")
        if mapping(inner, "properties"):
            yield from leaves(inner, below)
        else:
            yield below, inner


FIELDS = {
    path: schema
    for path, schema in leaves(crd.spec_schema())
    if path not in NOT_OBJECTS and not path.startswith(("autoscaling.", "auth."))
}


def other(schema: Json, now: object) -> object:
    """Another value that the API server would take."""
    choices = items(schema, "enum")
    if choices:
        return next(choice for choice in choices if choice != now)
    match text(schema, "type"):
        case "boolean":
            return not now
        case "integer":
            given = now if isinstance(now, int) else number(schema, "minimum")
            return given + 1 if given + 1 <= (number(schema, "maximum") or given + 1) else given - 1
        case "array":
            pattern = text(schema, "items", "pattern")
            return ["https://other.test"] if pattern else ["other"]
        case "object":
            return {"cpu": "777m"}
    pattern = text(schema, "pattern")
    return next((value for start, value in TEXTS.items() if pattern.startswith(start)), "other")


def given(path: str) -> dict[str, object]:
    context = next((spec for start, spec in CONTEXTS if path.startswith(start)), {})
    return copy.deepcopy(dict(context))


def put(spec: dict[str, object], path: str, value: object) -> None:
    *above, last = path.split(".")
    for step in above:
        spec = spec.setdefault(step, {})  # type: ignore[assignment]  # parts are objects
    spec[last] = value


def changed(path: str) -> dict[str, object]:
    """``given`` with another value of this one field."""
    spec = given(path)
    put(spec, path, other(FIELDS[path], at(whole(spec), *path.split("."))))
    return spec


def whole(spec: Mapping[str, object]) -> Json:
    """With every default, as the API server fills it in."""
    asked: Json = msgspec.to_builtins(parse(resource(None, **spec)).spec)
    return asked
