"""Each field of a ChatCluster means something: another value changes what is planned, and unset it changes it back."""

import copy
from collections.abc import Iterator, Mapping

import msgspec
import pytest

from chatoperator import crd
from chatoperator.objects import Json, at, items, mapping, number, text
from chatoperator.plan.decide import Desired, plan
from chatoperator.spec import parse
from tests.unit.operator_cases import NOW, certificates, observed, resource
from tests.unit.test_operator_plan import ENVOY_GATEWAY

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
    ("tls.natsSecret", {"tls": {"certificates": "Secret", "natsSecret": "n", "mongodbSecret": "m"}}),
    ("tls.mongodbSecret", {"tls": {"certificates": "Secret", "natsSecret": "n", "mongodbSecret": "m"}}),
    ("tls.certificates", {"tls": {"issuer": {"name": "i"}, "natsSecret": "n", "mongodbSecret": "m"}}),
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


def planned(spec: Mapping[str, object]) -> Desired:
    held = certificates()
    return plan(parse(resource(None, **spec)), observed(gateway=ENVOY_GATEWAY, certificates=held), NOW)


def put(spec: dict[str, object], path: str, value: object) -> None:
    *above, last = path.split(".")
    for step in above:
        spec = spec.setdefault(step, {})  # type: ignore[assignment]  # parts are objects
    spec[last] = value


@pytest.mark.parametrize("path", sorted(FIELDS))
def test_a_field_changes_what_is_planned_and_changes_it_back(path: str) -> None:
    before = given(path)
    changed = copy.deepcopy(before)
    defaults = mapping(_whole(before))
    now = at(defaults, *path.split("."))
    put(changed, path, other(FIELDS[path], now))
    one, two, three = planned(before), planned(changed), planned(before)
    assert (two.objects, two.scale, two.issues) != (one.objects, one.scale, one.issues)
    assert (three.objects, three.issues) == (one.objects, one.issues)


@pytest.mark.parametrize("name", ["issuer", "jwksUrl", "audience", "allowedOrigins"])
def test_whose_tokens_are_believed_changes_what_nodes_are_told(name: str) -> None:
    auth = {"issuer": "https://i.test", "jwksUrl": "https://i.test/jwks.json", "audience": "a", "allowedOrigins": []}
    value = ["https://w.test"] if name == "allowedOrigins" else "https://other.test"

    def told(asked: Mapping[str, object]) -> Desired:
        whole = resource()
        whole["spec"] = {"auth": asked}
        return plan(parse(whole), observed(), NOW)

    assert told(auth).objects != told({**auth, name: value}).objects


def _whole(spec: Mapping[str, object]) -> Json:
    """With every default, as the API server fills it in."""
    asked: Json = msgspec.to_builtins(parse(resource(None, **spec)).spec)
    return asked


def test_the_exceptions_are_fields() -> None:
    assert {path for path, _ in leaves(crd.spec_schema())} >= set(NOT_OBJECTS)
