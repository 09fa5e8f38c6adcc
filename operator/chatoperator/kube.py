"""The Kubernetes API as this operator uses it: objects in, objects out, every call with a deadline."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, Self
from urllib.parse import urlencode

import aiohttp
import msgspec
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config import load_incluster_config, load_kube_config

from chatoperator.objects import Json, Object, Ref, items, text

_DEADLINE_S: Final = 15.0
_NOT_FOUND: Final = 404

PLURALS: Final[Mapping[str, str]] = {
    "BackendTrafficPolicy": "backendtrafficpolicies",
    "Certificate": "certificates",
    "ChatCluster": "chatclusters",
    "ConfigMap": "configmaps",
    "CustomResourceDefinition": "customresourcedefinitions",
    "Deployment": "deployments",
    "EndpointSlice": "endpointslices",
    "Event": "events",
    "HTTPRoute": "httproutes",
    "Ingress": "ingresses",
    "Lease": "leases",
    "NetworkPolicy": "networkpolicies",
    "Pod": "pods",
    "PodDisruptionBudget": "poddisruptionbudgets",
    "ReplicaSet": "replicasets",
    "Secret": "secrets",
    "Service": "services",
    "ServiceAccount": "serviceaccounts",
    "StatefulSet": "statefulsets",
}
"""Kinds that are read or written, as paths name them."""


class ApiError(Exception):
    """The API server refused or did not answer: what was asked, the status (0: no answer) and its words."""

    def __init__(self, what: str, status: int, words: str) -> None:
        super().__init__(f"{what}: {status or 'no answer'}: {words}")
        self.status = status

    @property
    def missing(self) -> bool:
        return self.status == _NOT_FOUND

    @property
    def conflict(self) -> bool:
        return self.status == 409


class Connection(NamedTuple):
    server: str
    ca_file: str
    token: str
    certificate_file: str
    key_file: str


class Kube:
    """A connection pool to one API server; an async context manager."""

    def __init__(self, configuration: Configuration) -> None:
        configuration.retries = False
        self._configuration = configuration
        self._client = ApiClient(configuration)

    @classmethod
    async def connect(cls, kubeconfig: str = "") -> Self:
        """By ``kubeconfig``, or as the pod that this runs in."""
        configuration = Configuration()
        if kubeconfig:
            await load_kube_config(  # type: ignore[no-untyped-call]
                config_file=kubeconfig, client_configuration=configuration
            )
        else:
            load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        return cls(configuration)

    async def connection(self) -> Connection:
        """How to reach the server, for another client; asked again when a token has run out."""
        auth = await self._configuration.auth_settings()
        return Connection(
            self._configuration.host,
            self._configuration.ssl_ca_cert or "",
            # "Bearer x" by a kubeconfig, "bearer x" within a pod.
            (auth.get("BearerToken", {}).get("value") or "").rpartition(" ")[2],
            self._configuration.cert_file or "",
            self._configuration.key_file or "",
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()  # type: ignore[no-untyped-call]

    async def get(self, where: Ref, namespace: str) -> Object | None:
        try:
            return await self._call("GET", _path(where.api_version, where.kind, namespace, where.name))
        except ApiError as error:
            if error.missing:
                return None
            raise

    async def list(
        self, api_version: str, kind: str, namespace: str, selector: str = "", *, fields: str = ""
    ) -> Sequence[Object]:
        """Everything of a kind in a namespace (``""``: all), by labels and fields. Kinds that are not installed have
        nothing.
        """
        chosen = {"labelSelector": selector, "fieldSelector": fields}
        query = {name: value for name, value in chosen.items() if value}
        try:
            found = await self._call("GET", _path(api_version, kind, namespace), query)
        except ApiError as error:
            if error.missing:
                return ()
            raise
        return [
            {"apiVersion": api_version, "kind": kind, **item}
            for item in items(found, "items")
            if isinstance(item, Mapping)
        ]

    async def apply(self, thing: Object, manager: str, *, subresource: str = "") -> Object:
        """Server-side apply; what ``manager`` says wins over whoever else said it."""
        path = _path_of(thing)
        query = {"fieldManager": manager, "force": "true", "fieldValidation": "Strict"}
        if subresource:
            path = f"{path}/{subresource}"
        return await self._call("PATCH", path, query, thing, "application/apply-patch+yaml")

    async def create(self, thing: Object) -> Object:
        path = _path(text(thing, "apiVersion"), text(thing, "kind"), text(thing, "metadata", "namespace"))
        return await self._call("POST", path, {}, thing)

    async def replace(self, thing: Object) -> Object:
        """Only if nobody changed it since it was read: raises a conflict otherwise."""
        return await self._call("PUT", _path_of(thing), {}, thing)

    async def merge_status(self, where: Ref, namespace: str, patch: Object) -> Object:
        path = _path(where.api_version, where.kind, namespace, where.name) + "/status"
        return await self._call("PATCH", path, {}, patch, "application/merge-patch+json")

    async def annotate(self, where: Ref, namespace: str, annotations: Mapping[str, str | None]) -> Object:
        """Set annotations, or take away those whose value is None."""
        path = _path(where.api_version, where.kind, namespace, where.name)
        patch: Object = {"metadata": {"annotations": annotations}}
        return await self._call("PATCH", path, {}, patch, "application/merge-patch+json")

    async def evict(self, pod: str, namespace: str) -> None:
        """End a pod if its disruption budget allows it."""
        wish: Object = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod, "namespace": namespace},
        }
        await self._call("POST", _path("v1", "Pod", namespace, pod) + "/eviction", {}, wish)

    async def delete(self, where: Ref, namespace: str) -> None:
        try:
            options = {"propagationPolicy": "Background"}
            await self._call("DELETE", _path(where.api_version, where.kind, namespace, where.name), options)
        except ApiError as error:
            if not error.missing:
                raise

    async def document(self, path: str) -> Object | None:
        """A document of the server's own, as an OpenAPI schema; None where there is none."""
        try:
            return await self._call("GET", path)
        except ApiError as error:
            if error.missing:
                return None
            raise

    async def _call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        content_type: str = "application/json",
    ) -> Object:
        what = f"{method} {path}"
        headers = {"Accept": "application/json", "Content-Type": content_type}
        await self._client.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
        url = self._configuration.host + path + (f"?{urlencode(query)}" if query else "")
        plain = None if body is None else msgspec.to_builtins(body)
        try:
            response = await self._client.rest_client.request(  # type: ignore[no-untyped-call]
                method, url, headers=headers, body=plain, _request_timeout=_DEADLINE_S
            )
            data: bytes = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ApiError(what, 0, repr(error)) from error
        if response.status >= 300:
            raise ApiError(what, response.status, _words(data))
        answer: Json = msgspec.json.decode(data) if data else {}
        return answer if isinstance(answer, Mapping) else {}


def _path(api_version: str, kind: str, namespace: str, name: str = "") -> str:
    root = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
    inside = f"/namespaces/{namespace}" if namespace else ""
    return f"{root}{inside}/{PLURALS[kind]}" + (f"/{name}" if name else "")


def _path_of(thing: Object) -> str:
    where = (text(thing, "metadata", "namespace"), text(thing, "metadata", "name"))
    return _path(text(thing, "apiVersion"), text(thing, "kind"), *where)


def _words(data: bytes) -> str:
    try:
        return text(msgspec.json.decode(data), "message") or data[:300].decode("utf-8", "replace")
    except msgspec.DecodeError:
        return data[:300].decode("utf-8", "replace")
