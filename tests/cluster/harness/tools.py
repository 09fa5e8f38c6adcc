"""The binaries of a whole Kubernetes: from Go modules pinned in ``tests/cluster/tools``, and from Debian."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from tests.cluster.harness.cache import CACHE, ROOT, HarnessError, digest, kept, run, say

_TOOLS = ROOT / "tests" / "cluster" / "tools"
_KUBERNETES = "v1.37.2"
_MODULES: Mapping[str, tuple[str, ...]] = {
    "kubernetes": tuple(
        f"k8s.io/kubernetes/cmd/{name}"
        for name in (
            "kube-apiserver",
            "kubectl",
            "kube-controller-manager",
            "kube-scheduler",
            "kube-proxy",
            "kubelet",
        )
    ),
    "coredns": ("github.com/coredns/coredns",),
    "helm": ("helm.sh/helm/v4/cmd/helm",),
    "gateway": ("github.com/envoyproxy/gateway/cmd/envoy-gateway",),
    "contour": ("github.com/projectcontour/contour/cmd/contour",),
    "pause": ("chatcluster.test/pause",),
    "policies": ("sigs.k8s.io/kube-network-policies/cmd",),
}
_STAMPS = (
    f"-X k8s.io/component-base/version.gitVersion={_KUBERNETES} "
    "-X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=37"
)
_PACKAGES: Mapping[str, str] = {
    "etcd": "etcd-server",
    "containerd": "containerd",
    "runc": "runc",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "ip": "iproute2",
    "debootstrap": "debootstrap",
    "buildah": "buildah",
    "openssl": "openssl",
    "nsenter": "util-linux",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
}


def built(module: str) -> Path:
    """The folder with the binaries of one module. Minutes when it is made for the first time."""
    folder = _TOOLS / module
    parts = [path.read_bytes() for path in sorted(folder.glob("*")) if path.suffix in {".mod", ".sum", ".go"}]

    def build(target: Path) -> None:
        go = shutil.which("go") or "/usr/local/go/bin/go"
        if not os.access(go, os.X_OK):
            raise HarnessError("Go is needed to build Kubernetes: install Go 1.26 or newer from https://go.dev/dl")
        stamps = _STAMPS if module == "kubernetes" else ""
        for package in _MODULES[module]:
            say(f"building {package}")
            output = target / package.rpartition("/")[2]
            flags = ["-trimpath", "-ldflags", f"-s -w {stamps}".strip(), "-o", str(output)]
            # Beside other work: the machine stays usable, and memory does not run out on a small one.
            run(
                ["nice", "-n", "19", go, "build", "-p", "1", *flags, package],
                cwd=folder,
                env={"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly", "GOWORK": "off"},
            )

    return kept(f"{module}-{digest([*parts, _STAMPS.encode()])}", build)


def install_packages() -> None:
    """What comes from Debian; as root and with apt it is installed, else it is asked for."""
    missing = sorted({package for program, package in _PACKAGES.items() if not _present(program)})
    if not missing:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise HarnessError(f"install these first: {' '.join(missing)}")
    say(f"installing {' '.join(missing)}")
    run(["apt-get", "update", "-qq"])
    run(
        ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing],
        env={"DEBIAN_FRONTEND": "noninteractive"},
    )


def _present(program: str) -> bool:
    return Path(program).exists() if program.startswith("/") else shutil.which(program) is not None


def base_system() -> Path:
    """A folder whose ``root`` is a minimal Debian with Python, the base of every image here."""
    packages = "python3,python3-venv,libcurl4,ca-certificates"
    suite = "bookworm"

    def build(target: Path) -> None:
        run(["debootstrap", "--variant=minbase", f"--include={packages}", suite, target / "root"])
        for waste in ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale"):
            shutil.rmtree(target / "root" / waste, ignore_errors=True)

    return kept(f"base-{digest([suite.encode(), packages.encode()])}", build)


def module_folder(module: str, path: str) -> Path:
    """The unpacked sources of the Go module ``path`` that ``module`` pins."""
    go = shutil.which("go") or "/usr/local/go/bin/go"
    env = {"GOFLAGS": "-mod=readonly", "GOWORK": "off"}
    found = run([go, "list", "-m", "-f", "{{.Dir}}", path], cwd=_TOOLS / module, env=env).strip()
    if not found:
        run([go, "mod", "download", path], cwd=_TOOLS / module, env=env)
        found = run([go, "list", "-m", "-f", "{{.Dir}}", path], cwd=_TOOLS / module, env=env).strip()
    return Path(found)


__all__ = ["CACHE", "base_system", "built", "install_packages", "module_folder"]
