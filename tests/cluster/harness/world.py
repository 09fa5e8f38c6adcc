"""Where the tests run: a Kubernetes that they start, or one that somebody has (``CHAT_TEST_KUBECONFIG``)."""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
import yaml

from tests.cluster.harness import forwarding, images, skaffold, tools
from tests.cluster.harness.cache import ROOT, HarnessError, run
from tests.cluster.harness.kubernetes import Kubernetes, wait_until

OPERATOR_NAMESPACE: Final = skaffold.release().namespace
Document = dict[str, object]


class World:
    """A cluster with what tests ask of it."""

    def __init__(self, kubeconfig: Path, kubernetes: Kubernetes | None) -> None:
        self.kubeconfig = kubeconfig
        self.kubernetes = kubernetes
        self.image = os.environ.get("CHAT_TEST_IMAGE", images.CHAT)
        self.datastores = os.environ.get("CHAT_TEST_DATASTORES", images.DATASTORES if kubernetes else "")
        """The image with both datastores; empty: the ones that the resource names by default."""
        self._kubectl = _tool("kubectl", "kubernetes", own=kubernetes is not None)
        self._helm = _tool("helm", "helm", own=kubernetes is not None)

    @property
    def kubectl_folder(self) -> Path:
        return self._kubectl.parent

    def kubectl(self, *arguments: str | Path, document: str | None = None, timeout: float = 300) -> str:
        command = [str(part) for part in (self._kubectl, "--kubeconfig", self.kubeconfig, *arguments)]
        done = subprocess.run(command, input=document, capture_output=True, text=True, timeout=timeout, check=False)
        if done.returncode:
            raise HarnessError(f"kubectl {' '.join(map(str, arguments))}: {done.stderr.strip()}")
        return done.stdout

    def apply(self, *things: Mapping[str, object]) -> None:
        document = yaml.safe_dump_all([msgspec.to_builtins(thing) for thing in things])
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", document=document)

    def apply_file(self, path: Path) -> None:
        self.kubectl("apply", "--server-side", "-f", path)

    def get(self, kind: str, name: str, namespace: str = "") -> Document | None:
        where = ("-n", namespace) if namespace else ()
        found = self.kubectl("get", kind, name, *where, "-o", "json", "--ignore-not-found")
        return msgspec.json.decode(found, type=Document) if found.strip() else None

    def all(self, kind: str, namespace: str, selector: str = "") -> list[Document]:
        where = ("-l", selector) if selector else ()
        found = self.kubectl("get", kind, "-n", namespace, *where, "-o", "json")
        return msgspec.json.decode(found, type=dict[str, object])["items"]  # type: ignore[return-value]

    def pods(self, name: str, namespace: str, component: str) -> list[Document]:
        """Of one part of a ChatCluster; without those that are about to end."""
        labels = f"app.kubernetes.io/component={component},app.kubernetes.io/instance={name}"
        found = self.all("pods", namespace, labels)
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]  # type: ignore[operator]

    def condition(self, name: str, namespace: str, kind: str) -> Mapping[str, str]:
        """A condition of a ChatCluster; empty while there is none."""
        resource = self.get("chatcluster", name, namespace) or {}
        status = resource.get("status") or {}
        conditions: Sequence[Mapping[str, str]] = status.get("conditions", ())  # type: ignore[attr-defined]
        return next((each for each in conditions if each["type"] == kind), {})

    def wait_condition(self, name: str, namespace: str, kind: str, status: str = "True", seconds: float = 240) -> None:
        """Until it holds for the generation that is there now."""

        def holds() -> bool:
            resource = self.get("chatcluster", name, namespace) or {}
            generation = resource["metadata"]["generation"]  # type: ignore[index]
            found = self.condition(name, namespace, kind)
            return found.get("status") == status and found.get("observedGeneration") == generation

        try:
            wait_until(f"{kind}={status} of {namespace}/{name}", holds, seconds, every=0.5)
        except HarnessError as error:
            raise HarnessError(f"{error}\n{self.describe(name, namespace)}") from None

    def describe(self, name: str, namespace: str) -> str:
        """What a person would look at when something does not come up."""
        parts = [("get", "chatcluster", name, "-o", "yaml"), ("get", "pods", "-o", "wide"), ("get", "events")]
        told = []
        for part in parts:
            with contextlib.suppress(HarnessError):
                told.append(self.kubectl("-n", namespace, *part)[-6000:])
        with contextlib.suppress(HarnessError):
            told.append(self.kubectl("-n", OPERATOR_NAMESPACE, "logs", "deploy/chat-operator", "--tail=40"))
        return "\n".join(told)

    def helm(self, *arguments: str | Path) -> str:
        return run([self._helm, *arguments], env={"KUBECONFIG": str(self.kubeconfig)})

    def install_chart(self, *settings: str, chart: Path | None = None) -> None:
        """Install or upgrade the operator by its chart (or another), and wait until it is there."""
        release = skaffold.release()
        values = [*release.values(self.image), *settings]
        chosen = [part for value in values for part in ("--set", value)]
        place = ["-n", release.namespace, *(["--create-namespace"] if release.create_namespace else [])]
        self.helm(
            "upgrade",
            "--install",
            release.name,
            chart or ROOT / release.chart_path,
            *place,
            *chosen,
            "--timeout",
            "180s",
        )
        self.kubectl("-n", OPERATOR_NAMESPACE, "rollout", "status", "deploy/chat-operator", "--timeout=180s")

    @contextlib.contextmanager
    def reach(self, namespace: str, service: str, port: int) -> Iterator[str]:
        """``host:port`` by which this process reaches a Service."""
        if self.kubernetes is not None:
            yield f"{self.kubectl('-n', namespace, 'get', 'svc', service, '-o', 'jsonpath={.spec.clusterIP}')}:{port}"
            return
        command = [str(self._kubectl), "--kubeconfig", str(self.kubeconfig), "-n", namespace]
        with forwarding.forwarded([*command, "port-forward", f"svc/{service}"], port) as local:
            yield local

    def kill_pod(self, namespace: str, pod: str) -> float:
        """Without any grace, as when its machine goes; the moment."""
        at = time.monotonic()
        self.kubectl("-n", namespace, "delete", "pod", pod, "--grace-period=0", "--force", "--wait=false")
        return at


def _tool(name: str, module: str, *, own: bool) -> Path:
    """For a cluster that somebody has, the program that they use; it takes minutes to build one."""
    theirs = None if own else shutil.which(name)
    return Path(theirs) if theirs else tools.built(module) / name


@contextlib.contextmanager
def world(folder: Path, *, nodes: bool = True, entered: bool = True) -> Iterator[World]:
    """A cluster that is ready; within, this thread is inside its network unless ``entered`` is false."""
    given = os.environ.get("CHAT_TEST_KUBECONFIG")
    if given:
        yield World(Path(given), None)
        return
    tools.install_packages()
    archives = [images.pause(), images.datastores(), images.chat()] if nodes else []
    kubernetes = Kubernetes(folder, archives)
    try:
        kubernetes.start(nodes=nodes)
        if nodes:
            kubernetes.volumes(24)
        with kubernetes.entered() if entered else contextlib.nullcontext():
            yield World(kubernetes.kubeconfig, kubernetes)
    finally:
        kubernetes.stop()
