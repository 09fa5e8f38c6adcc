"""Envoy Gateway in the test cluster, by its own chart, and one Gateway with a plain listener."""

import contextlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import httpx
import yaml

from tests.cluster.harness import images, tools
from tests.cluster.harness.cache import HarnessError
from tests.cluster.harness.kubernetes import wait_until
from tests.cluster.harness.world import World

NAMESPACE: Final = "envoy-gateway-system"
NAME: Final = "public"
_MODULE: Final = "github.com/envoyproxy/gateway"
_API: Final = "gateway.networking.k8s.io/v1"
_ENVOY_API: Final = "gateway.envoyproxy.io/v1alpha1"


def install(world: World, scratch: Path) -> None:
    """The control plane by Helm, and a Gateway that routes of all namespaces may use; once for a cluster."""
    if world.kubernetes is None:
        raise HarnessError("Envoy Gateway is installed only into a cluster that the tests start")
    if world.get("deploy", "envoy-gateway", NAMESPACE) is not None:
        return
    for image in images.gateway():
        world.kubernetes.load(image)
    chart = scratch / "gateway-helm"
    shutil.copytree(tools.module_folder("gateway", _MODULE) / "charts" / "gateway-helm", chart)
    for path in [chart, *chart.rglob("*")]:
        path.chmod(path.stat().st_mode | 0o200)
    values = (chart / "values.tmpl.yaml").read_text("utf-8")
    values = values.replace("${GatewayImagePullPolicy}", "IfNotPresent").replace("${GatewayImage}", images.GATEWAY)
    (chart / "values.yaml").write_text(values, "utf-8")
    (scratch / "values.yaml").write_text(yaml.safe_dump(_values()), "utf-8")
    place = ["-n", NAMESPACE, "--create-namespace", "-f", scratch / "values.yaml", "--timeout", "180s"]
    world.helm("install", "eg", chart, *place)
    world.kubectl("-n", NAMESPACE, "rollout", "status", "deploy/envoy-gateway", "--timeout=180s")
    world.apply(*_gateway())
    world.kubectl("-n", NAMESPACE, "wait", "--for=condition=Programmed", f"gateway/{NAME}", "--timeout=180s")


def _values() -> Mapping[str, object]:
    local = {"pullPolicy": "IfNotPresent"}
    pictures = {
        "envoyGateway": {"image": images.GATEWAY, **local},
        "envoyProxy": {"image": images.ENVOY},
        "ratelimit": {"image": "localhost/none:1", **local},
    }
    resources = {"limits": {"memory": "1024Mi"}, "requests": {"cpu": "10m", "memory": "64Mi"}}
    return {
        "global": {"images": pictures},
        "deployment": {"envoyGateway": {"resources": resources}},
        "topologyInjector": {"enabled": False},
    }


def _gateway() -> list[Mapping[str, object]]:
    container = {"image": images.ENVOY, "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}}}
    kubernetes = {
        "envoyDeployment": {"replicas": 1, "container": container},
        "envoyService": {"type": "ClusterIP"},
    }
    inside = {"namespace": NAMESPACE, "name": NAME}
    parameters = {"group": "gateway.envoyproxy.io", "kind": "EnvoyProxy", "name": NAME}
    listener = {"name": "http", "protocol": "HTTP", "port": 80, "allowedRoutes": {"namespaces": {"from": "All"}}}
    return [
        {
            "apiVersion": _API,
            "kind": "GatewayClass",
            "metadata": {"name": "eg"},
            "spec": {"controllerName": "gateway.envoyproxy.io/gatewayclass-controller"},
        },
        {
            "apiVersion": _ENVOY_API,
            "kind": "EnvoyProxy",
            "metadata": inside,
            "spec": {
                "shutdown": {"drainTimeout": "5s", "minDrainDuration": "1s"},
                "telemetry": {"accessLog": {"disable": True}},
                "provider": {"type": "Kubernetes", "kubernetes": kubernetes},
            },
        },
        {
            "apiVersion": _API,
            "kind": "Gateway",
            "metadata": inside,
            "spec": {
                "gatewayClassName": "eg",
                "infrastructure": {"parametersRef": parameters},
                "listeners": [listener],
            },
        },
    ]


def address(world: World) -> str:
    """Where the Gateway listens, once it has an address."""
    path = "jsonpath={.status.addresses[0].value}"

    def known() -> str:
        return world.kubectl("-n", NAMESPACE, "get", "gateway", NAME, "-o", path)

    wait_until("the Gateway's address", lambda: bool(known()), 60)
    return f"{known()}:80"


def wait_leading(address: str) -> None:
    """Until it leads to nodes, which takes it a moment after the route was accepted."""

    def answered() -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"http://{address}/v1/me", trust_env=False, timeout=2).status_code == 401
        return False

    wait_until("the gateway to lead to the nodes", answered, 60)


def proxy_pod(world: World) -> str:
    labels = f"gateway.envoyproxy.io/owning-gateway-name={NAME}"
    return world.kubectl("-n", NAMESPACE, "get", "pods", "-l", labels, "-o", "name").split()[0].removeprefix("pod/")
