"""What all pods have in common: the restricted Pod Security Standard, no token, probes, spreading."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from chatoperator.objects import Json, Object
from chatoperator.plan import tls
from chatoperator.plan.naming import CHECKSUM, child, labels, selector
from chatoperator.quantities import canonical
from chatoperator.spec import ChatCluster, Resources

USER: Final = 10001
_CONTAINER_SECURITY: Final[Object] = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
_POD_SECURITY: Final[Object] = {
    "runAsNonRoot": True,
    "runAsUser": USER,
    "runAsGroup": USER,
    "fsGroup": USER,
    "fsGroupChangePolicy": "OnRootMismatch",
    "seccompProfile": {"type": "RuntimeDefault"},
}
TMP: Final[Object] = {"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}}
TMP_MOUNT: Final[Object] = {"name": "tmp", "mountPath": "/tmp"}  # noqa: S108  an emptyDir of the pod's own


def checksum(*parts: Json) -> str:
    """A digest of what a container reads at its start: when it changes, the pods are rolled."""
    return hashlib.sha256(msgspec.json.encode(parts, order="deterministic")).hexdigest()[:16]


def probe(path: str, port: str | int, *, period: int, failures: int, timeout: int = 2) -> Object:
    return {
        "httpGet": {"path": path, "port": port},
        "periodSeconds": period,
        "failureThreshold": failures,
        "timeoutSeconds": timeout,
    }


def resources(asked: Resources) -> Object:
    return {
        side: {name: canonical(amount) for name, amount in amounts.items()}
        for side, amounts in (("requests", asked.requests), ("limits", asked.limits))
        if amounts
    }


def container(name: str, image: str, pull_policy: str, **rest: Json) -> Object:
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": pull_policy,
        "securityContext": _CONTAINER_SECURITY,
        **rest,
    }


def spread(cluster: ChatCluster, component: str, over: str) -> Sequence[Json]:
    keys = {"Zone": ["topology.kubernetes.io/zone", "kubernetes.io/hostname"], "Host": ["kubernetes.io/hostname"]}
    return [
        {
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": selector(cluster, component)},
        }
        for key in keys.get(over, [])
    ]


def template(
    cluster: ChatCluster,
    component: str,
    main: Object,
    *,
    before: Object | None = None,
    volumes: Sequence[Json],
    configuration: str,
    grace_s: int,
    over: str,
    marked: Mapping[str, str] | None = None,
) -> Object:
    """A pod template. Nothing of the operator's own version is in it: upgrading the operator rolls nobody."""
    image = cluster.spec.image
    spec: dict[str, Json] = {
        "serviceAccountName": child(cluster, component),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": _POD_SECURITY,
        "terminationGracePeriodSeconds": grace_s,
        "containers": [main],
        "volumes": list(volumes),
    }
    constraints = spread(cluster, component, over)
    if constraints:
        spec["topologySpreadConstraints"] = constraints
    if before is not None:
        spec["initContainers"] = [before]
    if image.pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in image.pull_secrets]
    return {
        "metadata": {
            "labels": {**labels(cluster, component), **(marked or {})},
            "annotations": {CHECKSUM: configuration},
        },
        "spec": spec,
    }


def tls_mounts(cluster: ChatCluster) -> Sequence[Json]:
    return [{"name": "tls", "mountPath": tls.FOLDER, "readOnly": True}] if tls.components(cluster) else []


def tls_volumes(cluster: ChatCluster, component: str) -> Sequence[Json]:
    """A datastore's certificate, as files that follow its Secret. What else is in the Secret stays out of the pod."""
    if component not in tls.components(cluster):
        return []
    files = {key: key for key in tls.mounted(component)}
    return [file_volume("tls", secret=tls.secret_name(cluster, component), files=files)]


def file_volume(name: str, *, secret: str = "", config: str = "", files: Mapping[str, str] | None = None) -> Object:
    """Some keys of a Secret or a ConfigMap as files: key → file."""
    chosen: Object = {"items": [{"key": key, "path": path} for key, path in files.items()]} if files else {}
    if secret:
        return {"name": name, "secret": {"secretName": secret, "defaultMode": 0o440, **chosen}}
    return {"name": name, "configMap": {"name": config, "defaultMode": 0o444, **chosen}}
