"""The way in: an HTTPRoute on somebody's Gateway, or an Ingress for one of five controllers. Sticky by cookie.

Stickiness keeps caches warm, nothing depends on it; what matters is that sockets may be idle, that event streams have
no end, and that a request which finds its node gone is tried at another.
"""

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from chatoperator.objects import Json, Object
from chatoperator.plan.naming import child, metadata
from chatoperator.spec import ChatCluster, GatewayExposure, IngressExposure

ROUTE_API: Final = "gateway.networking.k8s.io/v1"
TRAFFIC_API: Final = "gateway.envoyproxy.io/v1alpha1"
_IDLE_S: Final = 3600
_UNBOUNDED: Final = 1_000_000
"""Envoy makes at most 1,024 connections and requests to one backend unless told otherwise, which sockets would fill.
Nodes refuse what is too much for them. Always the same number: a changed one would be a changed backend."""


class GatewaySupport(Struct, frozen=True):
    """What the installed CRDs have; asked of the API server, because it differs between versions and channels."""

    routes: bool = False
    session_persistence: frozenset[str] = frozenset()
    """Fields of an HTTPRoute rule's ``sessionPersistence``; empty where it has none."""
    envoy_traffic_policy: bool = False


class Exposed(Struct, frozen=True):
    """The objects of the way in, and what is to be said of it."""

    objects: tuple[Object, ...] = ()
    reason: str = "None"
    message: str = "exposure.type is none: the Service alone leads to the nodes"
    possible: bool = True


def cookie(cluster: ChatCluster) -> str:
    """The session's name; fixed, because a changed one loses everybody's place."""
    return f"chat-{cluster.metadata.name}"


def expose(cluster: ChatCluster, support: GatewaySupport) -> Exposed:
    asked = cluster.spec.exposure
    if asked.type == "gateway" and asked.gateway is not None:
        return _gateway(cluster, asked.gateway, support)
    if asked.type == "ingress" and asked.ingress is not None:
        return _ingress(cluster, asked.ingress)
    return Exposed()


def _gateway(cluster: ChatCluster, gateway: GatewayExposure, support: GatewaySupport) -> Exposed:
    if not support.routes:
        return Exposed(
            (),
            "GatewayApiMissing",
            "there is no HTTPRoute (gateway.networking.k8s.io/v1) in this cluster: install the Gateway API",
            possible=False,
        )
    objects: list[Object] = [_route(cluster, gateway, support)]
    words = ["HTTPRoute"]
    if {"type", "sessionName"} <= support.session_persistence:
        words.append("sticky by sessionPersistence")
    if support.envoy_traffic_policy:
        sticky = not support.session_persistence
        objects.append(_traffic_policy(cluster, hashed=sticky))
        words.append("BackendTrafficPolicy for idle sockets" + (", sticky by consistent hash" if sticky else ""))
    elif not support.session_persistence:
        words.append("not sticky: this Gateway API has no sessionPersistence")
    return Exposed(tuple(objects), "Applied", "; ".join(words))


def _route(cluster: ChatCluster, gateway: GatewayExposure, support: GatewaySupport) -> Object:
    parent: dict[str, Json] = {
        "group": "gateway.networking.k8s.io",
        "kind": "Gateway",
        "name": gateway.name,
        "namespace": gateway.namespace or cluster.metadata.namespace,
    }
    if gateway.section:
        parent["sectionName"] = gateway.section
    rule: dict[str, Json] = {
        "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
        "backendRefs": [{"group": "", "kind": "Service", "name": cluster.metadata.name, "port": 80, "weight": 1}],
    }
    known = support.session_persistence
    if {"type", "sessionName"} <= known:
        persistence: dict[str, Json] = {"type": "Cookie", "sessionName": cookie(cluster)}
        if "cookieConfig" in known:
            persistence["cookieConfig"] = {"lifetimeType": "Session"}
        rule["sessionPersistence"] = persistence
    spec: dict[str, Json] = {"parentRefs": [parent], "rules": [rule]}
    if cluster.spec.exposure.host:
        spec["hostnames"] = [cluster.spec.exposure.host]
    return {
        "apiVersion": ROUTE_API,
        "kind": "HTTPRoute",
        "metadata": metadata(cluster, cluster.metadata.name, "exposure"),
        "spec": spec,
    }


def _traffic_policy(cluster: ChatCluster, *, hashed: bool) -> Object:
    """Envoy Gateway's own policy. On the route, not on the listener: a changed listener cuts every socket on it."""
    target: Object = {
        "group": "gateway.networking.k8s.io",
        "kind": "HTTPRoute",
        "name": cluster.metadata.name,
    }
    spec: dict[str, Json] = {
        "targetRefs": [target],
        "timeout": {
            "http": {"streamIdleTimeout": "1h", "requestTimeout": "0s"},
            "tcp": {"connectTimeout": "1s"},
        },
        "retry": {"numRetries": 2, "retryOn": {"triggers": ["connect-failure", "refused-stream"]}},
        "circuitBreaker": {
            "maxConnections": _UNBOUNDED,
            "maxPendingRequests": _UNBOUNDED,
            "maxParallelRequests": _UNBOUNDED,
        },
    }
    if hashed:
        spec["loadBalancer"] = {
            "type": "ConsistentHash",
            "consistentHash": {"type": "Cookie", "cookie": {"name": cookie(cluster)}},
        }
    return {
        "apiVersion": TRAFFIC_API,
        "kind": "BackendTrafficPolicy",
        "metadata": metadata(cluster, cluster.metadata.name, "exposure"),
        "spec": spec,
    }


def _ingress_annotations(profile: str, name: str, *, secure: bool) -> Mapping[str, str]:
    """What each controller reads on an Ingress; others are read on the Service (``service_annotations``)."""
    idle = str(_IDLE_S)
    if profile == "nginx-legacy":
        prefix = "nginx.ingress.kubernetes.io"
        return {
            f"{prefix}/affinity": "cookie",
            f"{prefix}/affinity-mode": "balanced",
            f"{prefix}/session-cookie-name": name,
            f"{prefix}/session-cookie-change-on-failure": "true",
            f"{prefix}/session-cookie-samesite": "Lax",
            f"{prefix}/proxy-read-timeout": idle,
            f"{prefix}/proxy-send-timeout": idle,
            f"{prefix}/proxy-buffering": "off",
        }
    if profile == "haproxy":
        prefix = "haproxy-ingress.github.io"
        return {
            f"{prefix}/affinity": "cookie",
            f"{prefix}/session-cookie-name": name,
            f"{prefix}/session-cookie-strategy": "insert",
            f"{prefix}/session-cookie-dynamic": "true",
            f"{prefix}/timeout-tunnel": "1h",
            f"{prefix}/timeout-server": "1h",
        }
    if profile == "haproxytech":
        return {"haproxy.org/timeout-server": "1h"}
    if profile == "contour":
        return {
            "projectcontour.io/websocket-routes": "/",
            "projectcontour.io/response-timeout": "infinity",
            "projectcontour.io/num-retries": "2",
            "projectcontour.io/retry-on": "connect-failure",
        }
    # Without it Traefik takes the certificate and serves plain HTTP alone.
    return {"traefik.ingress.kubernetes.io/router.tls": "true"} if secure else {}


def service_annotations(cluster: ChatCluster) -> Mapping[str, str]:
    """What controllers read on the Service that the Ingress names."""
    exposure = cluster.spec.exposure
    profile = exposure.ingress.profile if exposure.type == "ingress" and exposure.ingress is not None else ""
    if profile == "traefik":
        prefix = "traefik.ingress.kubernetes.io/service.sticky.cookie"
        secure = {f"{prefix}.secure": "true"} if exposure.tls_secret else {}
        return {
            prefix: "true",
            f"{prefix}.name": cookie(cluster),
            f"{prefix}.httponly": "true",
            f"{prefix}.samesite": "lax",
            **secure,
        }
    if profile == "haproxytech":
        return {"haproxy.org/cookie-persistence": cookie(cluster)}
    if profile == "contour":
        limits = ("max-connections", "max-pending-requests", "max-requests")
        return {f"projectcontour.io/{limit}": str(_UNBOUNDED) for limit in limits}
    return {}


def _ingress(cluster: ChatCluster, asked: IngressExposure) -> Exposed:
    exposure = cluster.spec.exposure
    backend: Object = {"service": {"name": cluster.metadata.name, "port": {"name": "http"}}}
    spec: dict[str, Json] = {
        "rules": [
            {
                "host": exposure.host,
                "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]},
            }
        ]
    }
    if asked.class_name:
        spec["ingressClassName"] = asked.class_name
    if exposure.tls_secret:
        spec["tls"] = [{"hosts": [exposure.host], "secretName": exposure.tls_secret}]
    annotations = _ingress_annotations(asked.profile, cookie(cluster), secure=bool(exposure.tls_secret))
    thing: Object = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": metadata(cluster, child(cluster, "ingress"), "exposure", annotations),
        "spec": spec,
    }
    sticky = "not sticky: contour has it in HTTPProxy alone" if asked.profile == "contour" else "sticky by cookie"
    return Exposed((thing,), "Applied", f"Ingress for {asked.profile}; {sticky}")
