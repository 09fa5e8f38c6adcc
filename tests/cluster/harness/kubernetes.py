"""A whole Kubernetes on this machine: real parts, one node, in namespaces of its own for network and mounts.

Everything is a child of this process, lives under one folder, and ends by its process id. What the parts write into
fixed places of the system (``/var/lib/cni``, ``/run/netns``…) they write into mounts that only they see.
"""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
import yaml

from tests.cluster.harness import configuration, pki, tools
from tests.cluster.harness.cache import HarnessError, run

NODE_IP: Final = "192.0.2.1"
DNS_IP: Final = "10.96.0.10"
ZONE: Final = "zone-1"
_PREFIX: Final = "chatk8s"
_SCREEN: Final = """set -e
mount --make-rshared /
for folder in /run/netns /var/lib/cni /var/lib/kubelet; do mkdir -p $folder; mount -t tmpfs none $folder; done
echo ready
exec sleep infinity
"""
"""Runs for as long as the cluster: holds the mount namespace open."""
_STOP_ORDER: Final = ("kubelet", "kube-proxy", "coredns", "scheduler", "controller-manager")


def wait_until(what: str, holds: Callable[[], bool], seconds: float, every: float = 0.2) -> None:
    """:class:`HarnessError` when it does not come to hold in time."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise HarnessError(f"waited {seconds:.0f} s for {what}")
        time.sleep(every)


class Kubernetes:
    """``start`` gives a cluster that is ready, with ``images`` imported; ``stop`` leaves nothing."""

    def __init__(self, folder: Path, images: Sequence[Path]) -> None:
        self.name = f"{_PREFIX}-{os.getpid()}-{secrets.token_hex(2)}"
        self.folder = folder
        self._images = images
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._kubernetes = tools.built("kubernetes")
        self._coredns = tools.built("coredns") / "coredns"
        self._volumes = 0

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"

    @property
    def namespace_file(self) -> Path:
        """The network namespace, to be entered by whoever wants to talk to pods."""
        return Path("/run/netns") / self.name

    def kubectl(self, *arguments: str | Path, document: str | None = None) -> str:
        command = [*self._inside(), self._kubernetes / "kubectl", "--kubeconfig", self.kubeconfig, *arguments]
        done = subprocess.run(
            [str(part) for part in command], input=document, capture_output=True, text=True, timeout=300, check=False
        )
        if done.returncode:
            raise HarnessError(f"kubectl {' '.join(map(str, arguments))}: {done.stderr.strip()}")
        return done.stdout

    def apply(self, *things: Mapping[str, object]) -> None:
        self.kubectl("apply", "--server-side", "-f", "-", document=yaml.safe_dump_all(things))

    def _inside(self) -> Sequence[str]:
        # Not `ip netns exec`: that mounts /sys anew and hides the cgroups.
        return ("nsenter", f"--net={self.namespace_file}")

    def _screen(self) -> Sequence[str]:
        screen = self._processes["screen"].pid
        return ("nsenter", f"--net={self.namespace_file}", f"--mount=/proc/{screen}/ns/mnt")

    def start(self, *, nodes: bool = True) -> None:
        """With ``nodes=False`` an API server alone, for what needs no pods."""
        sweep()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._make_namespace()
        self._make_screen()
        make_cgroup(self.name)
        pki.make(self.folder / "pki", NODE_IP)
        token = secrets.token_hex(16)
        (self.folder / "pki" / "tokens.csv").write_text(f"{token},admin,admin,system:masters\n")
        self.kubeconfig.write_text(configuration.kubeconfig(self.folder, NODE_IP, token))
        self._spawn("etcd", configuration.etcd(self.folder))
        self._spawn(
            "apiserver", [str(self._kubernetes / "kube-apiserver"), *configuration.apiserver(self.folder, NODE_IP)]
        )
        if nodes:
            self._spawn("containerd", configuration.containerd(self.folder, self.name))
        wait_until("the API server", self._ready, 180)
        if nodes:
            self._start_node()

    def _start_node(self) -> None:
        for name, arguments in configuration.controllers(self.folder).items():
            self._spawn(name, [str(self._kubernetes / f"kube-{name}"), *arguments])
        for image in self._images:
            self._import(image)
        node = configuration.kubelet(self.folder, NODE_IP, DNS_IP, self.name)
        self._spawn("kubelet", [str(self._kubernetes / "kubelet"), *node])
        self._spawn("kube-proxy", [str(self._kubernetes / "kube-proxy"), *configuration.proxy(self.folder)])
        self._spawn("coredns", [str(self._coredns), *configuration.coredns(self.folder, NODE_IP, DNS_IP)])
        wait_until("the node", self._node_ready, 180)
        self.kubectl("label", "node", "node1", f"topology.kubernetes.io/zone={ZONE}")

    def _ready(self) -> bool:
        self.check()
        with contextlib.suppress(HarnessError):
            return self.kubectl("get", "--raw", "/readyz") == "ok"
        return False

    def _node_ready(self) -> bool:
        self.check()
        with contextlib.suppress(HarnessError):
            path = "jsonpath={.status.conditions[?(@.type=='Ready')].status}"
            return self.kubectl("get", "node", "node1", "-o", path) == "True"
        return False

    def _import(self, image: Path) -> None:
        command = [
            "ctr",
            "-a",
            str(self.folder / "run" / "containerd.sock"),
            "-n",
            "k8s.io",
            "images",
            "import",
            str(image),
        ]

        def imported() -> bool:
            return subprocess.run(command, capture_output=True, check=False).returncode == 0

        wait_until(f"containerd to import {image.parent.name}", imported, 180, every=0.5)

    def load(self, image: Path) -> None:
        """Make another image available."""
        self._import(image)

    def volumes(self, count: int) -> None:
        """Volumes for claims of the default class: folders of this machine."""
        things = []
        for _ in range(count):
            self._volumes += 1
            path = self.folder / "volumes" / str(self._volumes)
            path.mkdir(parents=True)
            path.chmod(0o777)
            things.append(configuration.volume(f"volume-{self._volumes}", path))
        self.apply(*things)

    def _make_namespace(self) -> None:
        run(["ip", "netns", "add", self.name])
        inside = self._inside()
        for command in (
            "ip link set lo up",
            "ip link add node0 type bridge",
            f"ip addr add {NODE_IP}/24 dev node0",
            f"ip addr add {DNS_IP}/32 dev node0",
            "ip link set node0 up",
            "ip route add default dev node0",
            "sysctl -qw net.ipv4.ip_forward=1",
        ):
            run([*inside, *command.split()])
        subprocess.run(
            [*inside, "sysctl", "-qw", "net.bridge.bridge-nf-call-iptables=1"], capture_output=True, check=False
        )

    def _make_screen(self) -> None:
        command = [*self._inside(), "unshare", "--mount", "--propagation", "private", "sh", "-c", _SCREEN]
        screen = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
        self._processes["screen"] = screen
        assert screen.stdout is not None
        with screen.stdout as told:
            answer = told.readline().strip()
        if answer != b"ready":
            raise HarnessError("cannot make a mount namespace: the cluster tests have to run as root")

    def _spawn(self, name: str, command: Sequence[str]) -> None:
        (self.folder / "log").mkdir(exist_ok=True)
        with (self.folder / "log" / f"{name}.log").open("wb") as log:
            self._processes[name] = subprocess.Popen(
                [*self._screen(), *command], stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )

    def check(self) -> None:
        """:class:`HarnessError` when a part has died, with the end of its log."""
        for name, process in self._processes.items():
            if process.poll() is not None:
                log = (self.folder / "log" / f"{name}.log").read_text("utf-8", "replace")
                raise HarnessError(f"{name} ended with {process.returncode}:\n{log[-3000:]}")

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Within, this thread and what it starts are inside the cluster's network."""
        with open("/proc/thread-self/ns/net") as home, self.namespace_file.open() as inside:  # noqa: PTH123  kernel
            _enter(inside.fileno())
            try:
                yield
            finally:
                _enter(home.fileno())

    def stop(self) -> None:
        """Ends what was started, by process id, and takes away what it left. Safe to call again."""
        for name in _STOP_ORDER:
            self._end(name, signal.SIGTERM, 10)
        if "containerd" in self._processes:
            for task in self._tasks():
                self._ctr("task", "kill", "-s", "SIGKILL", task)
            with contextlib.suppress(HarnessError):
                wait_until("containers to end", lambda: not self._tasks(), 10)
        for name in ("apiserver", "containerd", "etcd"):
            self._end(name, signal.SIGTERM, 10)
        clear(self.name)
        self._end("screen", signal.SIGKILL, 10)
        remove_cgroup(self.name)
        for left in ("containerd-root", "containerd-state", "etcd", "kubelet", "volumes"):
            shutil.rmtree(self.folder / left, ignore_errors=True)

    def _tasks(self) -> Sequence[str]:
        return self._ctr("task", "ls", "-q").split()

    def _ctr(self, *arguments: str) -> str:
        command = ["ctr", "-a", str(self.folder / "run" / "containerd.sock"), "-n", "k8s.io", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30).stdout

    def _end(self, name: str, number: int, seconds: float) -> None:
        process = self._processes.pop(name, None)
        if process is None:
            return
        process.send_signal(number)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _enter(descriptor: int) -> None:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, 0x40000000):
        raise HarnessError(f"cannot enter the cluster's network: {os.strerror(ctypes.get_errno())}")


def clear(name: str) -> None:
    """End whatever still lives in a network namespace, and remove it with those of its pods."""
    if not Path("/run/netns", name).exists():
        return
    pids = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=False).stdout.split()
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def _hierarchies() -> Sequence[Path]:
    """One for cgroup v2, one for each controller of v1."""
    root = Path("/sys/fs/cgroup")
    return [root] if (root / "cgroup.controllers").exists() else [path for path in root.iterdir() if path.is_dir()]


def _processes(cgroup: Path) -> Sequence[int]:
    """Those of the pods of one test cluster; nobody else is in its cgroup."""
    found: list[int] = []
    for listing in cgroup.rglob("cgroup.procs"):
        with contextlib.suppress(OSError):
            found += [int(pid) for pid in listing.read_text().split()]
    return found


def make_cgroup(name: str) -> None:
    for hierarchy in _hierarchies():
        (hierarchy / name).mkdir(exist_ok=True)


def remove_cgroup(name: str) -> None:
    """With all below it, the innermost first, once the processes in it have ended."""
    for _ in range(50):
        pids = {pid for hierarchy in _hierarchies() for pid in _processes(hierarchy / name)}
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if not pids:
            break
        time.sleep(0.1)
    for hierarchy in _hierarchies():
        top = hierarchy / name
        if top.exists() and not top.is_symlink():
            inner = sorted((path for path in top.rglob("*") if path.is_dir()), reverse=True)
            for folder in [*inner, top]:
                with contextlib.suppress(OSError):
                    folder.rmdir()


def sweep() -> None:
    """Take away what runs that were killed have left: their process is gone, their namespace is not."""
    for left in _namespaces():
        pid = left.split("-")[1]
        if pid.isdigit() and not Path("/proc", pid).exists():
            clear(left)
            remove_cgroup(left)


def _namespaces() -> Iterable[str]:
    folder = Path("/run/netns")
    return [path.name for path in folder.glob(f"{_PREFIX}-*")] if folder.exists() else []


def decode(text: str) -> dict[str, object]:
    found: dict[str, object] = msgspec.json.decode(text)
    return found
