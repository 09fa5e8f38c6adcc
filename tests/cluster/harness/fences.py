"""NetworkPolicies enforced for real, by the engine of Kubernetes SIG Network, between network namespaces for pods.

kube-network-policies decides about the first packet of each connection, which netfilter queues for it. It asks for the
queue by nftables; the rule is made by iptables here, because kernels without NFT_QUEUE have that one alone.
"""

import contextlib
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from tests.cluster.harness import tools
from tests.cluster.harness.cache import HarnessError, run
from tests.cluster.harness.kubernetes import NODE_IP, Kubernetes, wait_until
from tests.cluster.harness.world import World

_QUEUE: Final = "100"
_METRICS: Final = "127.0.0.1:19080"
_LISTEN: Final = """
import socket, sys, threading
def serve(port):
    listener = socket.create_server(("", port))
    def accept():
        while True:
            listener.accept()[0].close()
    threading.Thread(target=accept, daemon=True).start()
for port in sys.argv[1].split(","):
    serve(int(port))
print("ready", flush=True)
threading.Event().wait()
"""
_TRY: Final = """
import json, socket, sys
from concurrent.futures import ThreadPoolExecutor
def reached(way):
    try:
        with socket.create_connection((way[0], way[1]), timeout=float(sys.argv[2])):
            return True
    except OSError:
        return False
ways = json.loads(sys.argv[1])
with ThreadPoolExecutor(32) as pool:
    print(json.dumps(list(pool.map(reached, ways))))
"""
_ENGINE: Final = """set -e
mount -t tmpfs none /run
mkdir -p /run/secrets/kubernetes.io/serviceaccount
printf %s "$1" > /run/secrets/kubernetes.io/serviceaccount/token
cp "$2" /run/secrets/kubernetes.io/serviceaccount/ca.crt
shift 2
exec "$@"
"""


class Ground:
    """Addresses on one bridge inside the cluster's network; each is a network namespace of its own."""

    def __init__(self, kubernetes: Kubernetes) -> None:
        self._kubernetes = kubernetes
        self._spaces: dict[str, str] = {}
        self._listening: list[subprocess.Popen[bytes]] = []
        self.addresses: dict[str, str] = {}

    def begin(self) -> None:
        for command in ("ip link add pods0 type bridge", "ip addr add 10.244.0.1/24 dev pods0", "ip link set pods0 up"):
            run(command.split())
        if Path("/proc/sys/net/bridge/bridge-nf-call-iptables").read_text("utf-8").strip() != "1":
            raise HarnessError("net.bridge.bridge-nf-call-iptables is not 1: packets between pods pass no rule")

    def add(self, place: str, ports: Sequence[int]) -> None:
        """An address at which every one of ``ports`` is listened on."""
        number = len(self.addresses) + 2
        space, outer, inner = f"{self._kubernetes.name}-{number}", f"pod{number}", "eth0"
        self.addresses[place], self._spaces[place] = f"10.244.0.{number}", space
        run(["ip", "netns", "add", space])
        run(["ip", "link", "add", outer, "type", "veth", "peer", "name", inner, "netns", space])
        run(["ip", "link", "set", outer, "master", "pods0", "up"])
        for command in (
            "ip link set lo up",
            f"ip addr add {self.addresses[place]}/24 dev {inner}",
            f"ip link set {inner} up",
            "ip route add default via 10.244.0.1",
        ):
            run(["ip", "netns", "exec", space, *command.split()])
        command_line = ["ip", "netns", "exec", space, sys.executable, "-c", _LISTEN, ",".join(map(str, ports))]
        process = subprocess.Popen(command_line, stdout=subprocess.PIPE)
        self._listening.append(process)
        assert process.stdout is not None
        if process.stdout.readline().strip() != b"ready":
            raise HarnessError(f"{place} does not listen")

    def reached(self, source: str, ways: Sequence[tuple[str, int]], within: float = 1.5) -> Sequence[bool]:
        """Whether each address and port takes a connection from ``source``."""
        command = ["ip", "netns", "exec", self._spaces[source], sys.executable, "-c", _TRY]
        told = run([*command, msgspec.json.encode(list(ways)).decode(), str(within)])
        return msgspec.json.decode(told, type=list[bool])

    def end(self) -> None:
        for process in self._listening:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
        for space in self._spaces.values():
            run(["ip", "netns", "del", space])
        run(["ip", "link", "del", "pods0"])


@contextlib.contextmanager
def ground(world: World) -> Iterator[Ground]:
    if world.kubernetes is None:
        raise HarnessError("addresses for pods are made only beside an API server that the tests start")
    made = Ground(world.kubernetes)
    made.begin()
    try:
        yield made
    finally:
        made.end()


@contextlib.contextmanager
def enforced(world: World, folder: Path) -> Iterator[None]:
    """What the NetworkPolicies say holds between pods while this runs, as soon as the engine knows of them."""
    token = world.kubectl("create", "token", "fences", "-n", "kube-system").strip()
    engine = tools.built("policies") / "cmd"
    ca = folder / "ca.crt"
    ca.write_bytes((world.kubeconfig.parent / "pki" / "ca.crt").read_bytes())
    rule = ["FORWARD", "-m", "conntrack", "--ctstate", "NEW", "-j", "NFQUEUE", "--queue-num", _QUEUE]
    command = [
        *("unshare", "--mount", "--propagation", "private", "sh", "-c", _ENGINE, "sh", token, str(ca)),
        *("env", f"KUBERNETES_SERVICE_HOST={NODE_IP}", "KUBERNETES_SERVICE_PORT=6443", str(engine)),
        *(f"-nfqueue-id={_QUEUE}", f"-metrics-bind-address={_METRICS}", "-hostname-override=node1"),
    ]
    log = folder / "engine.log"
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT) as process:
        try:
            wait_until("the policy engine to take packets", lambda: _taken(process, log), 30)
            run(["iptables", "-I", *rule])
            yield
            if process.poll() is not None:
                raise HarnessError(f"the policy engine ended:\n{log.read_text()[-3000:]}")
        finally:
            subprocess.run(["iptables", "-D", *rule], capture_output=True, check=False)
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def _taken(process: subprocess.Popen[bytes], log: Path) -> bool:
    if process.poll() is not None:
        raise HarnessError(f"the policy engine ended:\n{log.read_text()[-3000:]}")
    # Of the network namespace of whoever reads.
    queues = Path("/proc/thread-self/net/netfilter/nfnetlink_queue").read_text("utf-8")
    return any(line.split()[0] == _QUEUE for line in queues.splitlines())


def account() -> Sequence[Mapping[str, object]]:
    """Who the engine comes in as."""
    rights = "rbac.authorization.k8s.io"
    kinds = [("", ["pods", "namespaces", "nodes"]), ("networking.k8s.io", ["networkpolicies"])]
    rules = [{"apiGroups": [group], "resources": names, "verbs": ["get", "list", "watch"]} for group, names in kinds]
    return (
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "fences", "namespace": "kube-system"}},
        {"apiVersion": f"{rights}/v1", "kind": "ClusterRole", "metadata": {"name": "fences"}, "rules": rules},
        {
            "apiVersion": f"{rights}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "fences"},
            "roleRef": {"apiGroup": rights, "kind": "ClusterRole", "name": "fences"},
            "subjects": [{"kind": "ServiceAccount", "name": "fences", "namespace": "kube-system"}],
        },
    )
