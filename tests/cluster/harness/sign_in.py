"""A sign-in for people who look at the cluster: runs inside it, beside the tests' identity provider, with its key.

Served under ``/v1/demo`` as in local mode, so that the page offers the demo's people as it does there.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from chatnode.identity.demo_users import DEMO_USERS
from tests.cluster.harness.issuer import NAMESPACE, Issuer

PORT: Final = 8080
_LABELS: Final = {"app": "sign-in"}
_PLACE: Final = {"namespace": NAMESPACE, "name": "sign-in"}
_HOUR_S: Final = 3600
_PROGRAM: Final = """
import uvicorn
from tests.cluster.harness.sign_in import application
from pathlib import Path
uvicorn.run(application(Path("/keys/key.pem")), host="0.0.0.0", port=8080, log_level="warning")
"""
_SOURCES: Final = ("__init__.py", "issuer.py", "sign_in.py")


def application(key: Path) -> Starlette:
    """Gives whoever asks a token for one of the demo's people."""
    issuer = Issuer(key.read_bytes())
    names = {person.user: person.name for person in DEMO_USERS}

    async def users(_request: Request) -> JSONResponse:
        return JSONResponse({"users": [{"user": p.user, "name": p.name, "role": p.role} for p in DEMO_USERS]})

    async def token(request: Request) -> JSONResponse:
        user = (await request.json()).get("user")
        if user not in names:
            return JSONResponse({"code": "not_found", "message": "no such person", "retryable": False}, 404)
        signed = issuer.token(user, name=names[user], lifetime_s=_HOUR_S)
        expires_at = (int(time.time()) + _HOUR_S) * 1000
        return JSONResponse({"token": signed, "user": user, "name": names[user], "expires_at": expires_at})

    return Starlette(
        routes=[Route("/v1/demo/users", users, methods=["GET"]), Route("/v1/demo/token", token, methods=["POST"])]
    )


def objects(image: str, issuer: Issuer, gateway: Mapping[str, str]) -> list[Mapping[str, object]]:
    """What has to run in the cluster; ``gateway`` names the one by which people come in."""
    here = Path(__file__).parent
    program = {name: (here / name).read_text("utf-8") for name in _SOURCES if (here / name).exists()}
    container = {
        "name": "serve",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-c", _PROGRAM],
        "env": [{"name": "PYTHONPATH", "value": "/opt/chat/app:/program"}],
        "ports": [{"name": "http", "containerPort": PORT}],
        "readinessProbe": {"httpGet": {"path": "/v1/demo/users", "port": "http"}, "periodSeconds": 1},
        "volumeMounts": [
            {"name": "program", "mountPath": "/program/tests/cluster/harness"},
            {"name": "key", "mountPath": "/keys"},
        ],
    }
    volumes = [
        {"name": "program", "configMap": {"name": "sign-in"}},
        {"name": "key", "secret": {"secretName": "sign-in"}},
    ]
    pod = {"metadata": {"labels": _LABELS}, "spec": {"containers": [container], "volumes": volumes}}
    route = {
        "parentRefs": [gateway],
        "rules": [
            {
                "matches": [{"path": {"type": "PathPrefix", "value": "/v1/demo"}}],
                "backendRefs": [{"name": "sign-in", "port": 80}],
            }
        ],
    }
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": _PLACE, "data": program},
        {"apiVersion": "v1", "kind": "Secret", "metadata": _PLACE, "stringData": {"key.pem": issuer.private_pem()}},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": _PLACE,
            "spec": {"selector": _LABELS, "ports": [{"port": 80, "targetPort": "http"}]},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": _PLACE,
            "spec": {"replicas": 1, "selector": {"matchLabels": _LABELS}, "template": pod},
        },
        {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "HTTPRoute",
            "metadata": _PLACE,
            "spec": route,
        },
    ]
