"""The CustomResourceDefinition, generated from ``spec``: schema with defaults, rules in CEL, columns, scale.

``python -m chatoperator.crd`` prints it as YAML.
"""

import sys
from collections.abc import Mapping
from typing import Final

import msgspec
import yaml

from chatoperator import spec
from chatoperator.objects import Json, Object, items, mapping, text
from chatoperator.spec import GROUP, KIND, PLURAL, VERSION, ChatClusterSpec

_SCHEMA: Final = "#/$defs/"
_OPEN: Final[Object] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def rule(condition: str, message: str, path: str = "") -> Object:
    field: Object = {"fieldPath": path} if path else {}
    return {"rule": condition, "message": message, **field}


RULES: Final[Mapping[str, tuple[Object, ...]]] = {
    "ChatCluster": (
        rule("self.metadata.name.size() <= 40", "a ChatCluster's name has at most 40 characters"),
        # Not against the spec before: where a default has filled that in, nothing may have been done by it yet.
        rule(
            "!has(self.status) || !has(self.status.certificates) || self.status.certificates in ['', 'Off'] "
            "|| self.status.certificates == self.spec.tls.certificates",
            "tls.certificates cannot be changed but from Off, once the operator has acted upon it: parts that believe "
            "the one would not reach those of the other; create another ChatCluster and move to it",
        ),
    ),
    "ChatClusterSpec": (
        rule(
            "self.exposure.type != 'gateway' || has(self.exposure.gateway)",
            "exposure.type gateway needs exposure.gateway.name: the Gateway that the route attaches to",
        ),
        rule(
            "self.exposure.type != 'ingress' || has(self.exposure.ingress)",
            "exposure.type ingress needs exposure.ingress.profile: the controller whose annotations are written",
        ),
        rule(
            "self.exposure.type != 'ingress' || self.exposure.host != ''",
            "exposure.type ingress needs exposure.host: the name that people use",
        ),
        rule(
            "self.nodes.targetConnections <= self.limits.connectionsPerNode",
            "nodes.targetConnections is more than a node takes: lower it, or raise limits.connectionsPerNode",
        ),
        rule(
            "self.tls.certificates != 'Secret' || !has(self.nats.managed) || self.tls.natsSecret != ''",
            "tls.certificates Secret needs tls.natsSecret: where NATS's certificate is",
        ),
        rule(
            "self.tls.certificates != 'Secret' || !has(self.mongodb.managed) || self.tls.mongodbSecret != ''",
            "tls.certificates Secret needs tls.mongodbSecret: where MongoDB's certificate is",
        ),
    ),
    "Tls": (
        rule(
            "self.certificates != 'CertManager' || has(self.issuer)",
            "tls.certificates CertManager needs tls.issuer.name: the Issuer or ClusterIssuer that is asked",
        ),
    ),
    "Nodes": (rule("self.min <= self.max", "nodes.min is above nodes.max: lower min or raise max"),),
    "Nats": (
        rule(
            "has(self.managed) != has(self.external)",
            "give either nats.managed or nats.external, not both and not neither",
        ),
        rule(
            "has(self.managed) == has(oldSelf.managed)",
            "nats cannot change between managed and external: create another ChatCluster and move to it",
        ),
        rule(
            "!has(self.managed) || !has(oldSelf.managed) || self.managed.storage == oldSelf.managed.storage",
            "nats.managed.storage cannot be changed: expand the volume claims themselves",
        ),
        rule(
            "!has(self.managed) || !has(oldSelf.managed) || self.managed.replicas >= oldSelf.managed.replicas",
            "nats.managed.replicas cannot be lowered: the streams have copies on every server",
        ),
    ),
    "Mongodb": (
        rule(
            "has(self.managed) != has(self.external)",
            "give either mongodb.managed or mongodb.external, not both and not neither",
        ),
        rule(
            "has(self.managed) == has(oldSelf.managed)",
            "mongodb cannot change between managed and external: create another ChatCluster and move to it",
        ),
        rule(
            "!has(self.managed) || !has(oldSelf.managed) || self.managed.storage == oldSelf.managed.storage",
            "mongodb.managed.storage cannot be changed: expand the volume claims themselves",
        ),
        rule("self.database == oldSelf.database", "mongodb.database cannot be changed: the history is in it"),
    ),
    "Limits": (
        rule(
            "double(self.commandBurst) >= double(self.commandsPerSecond)",
            "limits.commandBurst is below limits.commandsPerSecond: raise it to at least the rate",
        ),
    ),
}
"""Rules over several fields, by the struct they look at."""

_COLUMNS: Final = (
    ("Ready", "string", '.status.conditions[?(@.type=="Ready")].status', 0),
    ("Nodes", "string", ".status.nodes.summary", 0),
    ("Connections", "integer", ".status.connections", 0),
    ("Target", "integer", ".status.nodes.desired", 0),
    ("Reason", "string", '.status.conditions[?(@.type=="Ready")].reason', 1),
    ("Age", "date", ".metadata.creationTimestamp", 0),
)


def definition() -> Object:
    """The whole CustomResourceDefinition."""
    columns: list[Json] = [
        {"name": name, "type": kind, "jsonPath": path, **({"priority": priority} if priority else {})}
        for name, kind, path, priority in _COLUMNS
    ]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": "chatcluster",
                "shortNames": ["chat"],
            },
            "scope": "Namespaced",
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {
                        "status": {},
                        "scale": {
                            "specReplicasPath": ".spec.nodes.replicas",
                            "statusReplicasPath": ".status.nodes.running",
                            "labelSelectorPath": ".status.selector",
                        },
                    },
                    "additionalPrinterColumns": columns,
                    "schema": {"openAPIV3Schema": _resource()},
                }
            ],
        },
    }


def _resource() -> Object:
    return {
        "description": "A chat cluster: NATS, MongoDB, nodes, workers, and the way in.",
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": spec_schema(),
            "status": _STATUS,
        },
        "x-kubernetes-validations": list(RULES["ChatCluster"]),
    }


def spec_schema() -> Object:
    """The structural schema of ``spec``."""
    _, components = msgspec.json.schema_components([ChatClusterSpec], ref_template=_SCHEMA + "{name}")
    return _struct(ChatClusterSpec.__name__, components)


def _structural(schema: Object, components: Mapping[str, Object]) -> Object:
    """Kubernetes' dialect: no references, no unions, no default of null."""
    kept = {key: value for key, value in schema.items() if key not in {"title", "$ref", "anyOf", "default"}}
    if schema.get("default") is not None:
        kept["default"] = schema["default"]
    options = [mapping(option) for option in items(schema, "anyOf") if option != {"type": "null"}]
    if {text(option, "type") for option in options} == {"integer", "string"}:
        return {**kept, "x-kubernetes-int-or-string": True}
    if options:
        return {**_structural(options[0], components), **kept}
    if "$ref" in schema:
        return {**_struct(text(schema, "$ref").removeprefix(_SCHEMA), components), **kept}
    if "enum" in kept:
        kept["type"] = "integer" if isinstance(items(kept, "enum")[0], int) else "string"
    for inner in ("items", "additionalProperties"):
        if isinstance(kept.get(inner), Mapping):
            kept[inner] = _structural(mapping(kept, inner), components)
    return kept


def _struct(name: str, components: Mapping[str, Object]) -> Object:
    component = components[name]
    defaults = _defaults(getattr(spec, name))
    result: dict[str, Json] = {
        "type": "object",
        "properties": {
            key: {
                **_structural(mapping(value), components),
                **({"default": defaults[key]} if key in defaults else {}),
            }
            for key, value in mapping(component, "properties").items()
        },
    }
    required = items(component, "required")
    if required:
        result["required"] = required
    if name in RULES:
        result["x-kubernetes-validations"] = list(RULES[name])
    return result


def _defaults(struct: type[msgspec.Struct]) -> Mapping[str, Json]:
    """What a part is when it is left out, by its name in JSON; whole, because rules look at it before it is filled."""
    return {
        field.encode_name: _without_nulls(msgspec.to_builtins(field.default_factory()))
        for field in msgspec.structs.fields(struct)
        if field.default_factory is not msgspec.NODEFAULT
    }


def _without_nulls(thing: Json) -> Json:
    if isinstance(thing, Mapping):
        return {key: _without_nulls(value) for key, value in thing.items() if value is not None}
    return thing


_CONDITION: Final[Object] = {
    "type": "object",
    "required": ["type", "status", "reason", "message", "lastTransitionTime"],
    "properties": {
        "type": {"type": "string"},
        "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
        "reason": {"type": "string"},
        "message": {"type": "string"},
        "observedGeneration": {"type": "integer", "format": "int64"},
        "lastTransitionTime": {"type": "string", "format": "date-time"},
    },
}
_STATUS: Final[Object] = {
    "type": "object",
    "properties": {
        "conditions": {
            "type": "array",
            "items": _CONDITION,
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
        },
        "observedGeneration": {"type": "integer", "format": "int64"},
        "certificates": {"type": "string", "maxLength": 16},
        "connections": {"type": "integer"},
        "selector": {"type": "string"},
        "nodes": {
            "type": "object",
            "properties": {
                "desired": {"type": "integer"},
                "running": {"type": "integer"},
                "ready": {"type": "integer"},
                "updated": {"type": "integer"},
                "summary": {"type": "string"},
                "reason": {"type": "string"},
            },
        },
        "workers": {
            "type": "object",
            "properties": {"desired": {"type": "integer"}, "ready": {"type": "integer"}},
        },
        "drain": _OPEN,
        "scaling": _OPEN,
        "strangers": {"type": "array", "items": {"type": "string"}},
        "troubles": {"type": "array", "items": {"type": "string"}},
        "endpoints": {
            "type": "object",
            "properties": {"service": {"type": "string"}, "url": {"type": "string"}},
        },
        "versions": {
            "type": "object",
            "properties": {name: {"type": "string"} for name in ("operator", "image", "nats", "mongodb")},
        },
        "decisions": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {name: {"type": "string"} for name in ("time", "what", "why")},
            },
        },
    },
}


def as_yaml(thing: Object) -> str:
    """YAML whose keys keep their order."""
    plain = msgspec.to_builtins(thing)
    return yaml.dump(plain, Dumper=_Plain, sort_keys=False, width=118, allow_unicode=True)


class _Plain(yaml.SafeDumper):
    """Without anchors, which people do not read."""

    def ignore_aliases(self, _data: object) -> bool:
        return True


if __name__ == "__main__":
    sys.stdout.write(as_yaml(definition()))
