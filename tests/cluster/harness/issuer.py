"""An identity provider for the tests: signs tokens here, publishes its public key from inside the cluster."""

import hashlib
import json
import time
from collections.abc import Collection, Mapping
from typing import Final

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

NAMESPACE: Final = "identity"
ISSUER: Final = "https://identity.test"
AUDIENCE: Final = "skillhub-chat"
_KEY_ID: Final = "test-1"
_LABELS: Final = {"app": "identity"}


class Issuer:
    """``objects`` are what has to run in the cluster; ``jwks_url`` is what a ChatCluster's ``auth`` names."""

    jwks_url: Final = f"http://identity.{NAMESPACE}.svc/jwks.json"

    def __init__(self, pem: bytes | None = None) -> None:
        """With ``pem`` one that signs with that key, else with a new one."""
        if pem is None:
            self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
            return
        key = serialization.load_pem_private_key(pem, password=None)
        assert isinstance(key, rsa.RSAPrivateKey)
        self._key = key

    def private_pem(self) -> str:
        kind = serialization.PrivateFormat.PKCS8
        return self._key.private_bytes(serialization.Encoding.PEM, kind, serialization.NoEncryption()).decode()

    def token(self, user: str, *, name: str = "", scopes: Collection[str] = (), lifetime_s: int = 7200) -> str:
        now = int(time.time())
        claims = {
            "sub": user,
            "name": name or user,
            "iss": ISSUER,
            "aud": AUDIENCE,
            "iat": now,
            "exp": now + lifetime_s,
            "scope": " ".join(scopes),
        }
        return jwt.encode(claims, self._key, "RS256", headers={"kid": _KEY_ID})

    def objects(self, image: str) -> list[Mapping[str, object]]:
        public = json.loads(RSAAlgorithm.to_jwk(self._key.public_key()))
        keys = json.dumps({"keys": [{**public, "kid": _KEY_ID, "use": "sig", "alg": "RS256"}]})
        inside = {"namespace": NAMESPACE, "name": "identity"}
        container = {
            "name": "serve",
            "image": image,
            "imagePullPolicy": "IfNotPresent",
            "command": ["python3", "-m", "http.server", "8080", "--directory", "/keys"],
            "ports": [{"name": "http", "containerPort": 8080}],
            "readinessProbe": {"httpGet": {"path": "/jwks.json", "port": "http"}, "periodSeconds": 1},
            "volumeMounts": [{"name": "keys", "mountPath": "/keys"}],
        }
        pod = {
            # Other keys roll it: on a cluster that stays, what a session before has served would go on for a minute.
            "metadata": {"labels": _LABELS, "annotations": {"keys": hashlib.sha256(keys.encode()).hexdigest()}},
            "spec": {
                "terminationGracePeriodSeconds": 1,
                "containers": [container],
                "volumes": [{"name": "keys", "configMap": {"name": "identity"}}],
            },
        }
        return [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": inside, "data": {"jwks.json": keys}},
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": inside,
                "spec": {"selector": _LABELS, "ports": [{"port": 80, "targetPort": "http"}]},
            },
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": inside,
                "spec": {"replicas": 1, "selector": {"matchLabels": _LABELS}, "template": pod},
            },
        ]
