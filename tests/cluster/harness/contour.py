"""Contour, a controller of plain Ingress, with its Envoy: two processes beside the cluster's own, in its network."""

import contextlib
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from tests.cluster.harness import images, tools
from tests.cluster.harness.cache import HarnessError, run
from tests.cluster.harness.kubernetes import NODE_IP, wait_until
from tests.cluster.harness.world import World

CLASS: Final = "contour"
HOST: Final = "localhost"
"""What people call it: a name that this machine knows without being told."""
PORT: Final = 8080
"""Where its Envoy listens by default."""
_XDS_PORT: Final = 18001
_MODULE: Final = "github.com/projectcontour/contour"
_FEATURES: Final = ("extensionservices", "tlsroutes", "grpcroutes", "tcproutes", "backendtlspolicies")


@contextlib.contextmanager
def installed(world: World, folder: Path) -> Iterator[str]:
    """``host:port`` at which the Ingresses of its class are served, while it runs."""
    if world.kubernetes is None:
        raise HarnessError("Contour is run only beside a cluster that the tests start")
    binary = tools.built("contour") / "contour"
    folder.mkdir()
    definitions = tools.module_folder("contour", _MODULE) / "examples" / "contour" / "01-crds.yaml"
    world.apply_file(definitions)
    # It ends when it finds one that is not served yet.
    world.kubectl("wait", "--for=condition=Established", "-f", definitions, "--timeout=60s")
    bootstrap, admin = folder / "envoy.json", folder / "admin.sock"
    where = ["--xds-address=127.0.0.1", f"--xds-port={_XDS_PORT}"]
    run([binary, "bootstrap", bootstrap, *where, f"--admin-address={admin}"])
    serve = [
        *(str(binary), "serve", "--kubeconfig", str(world.kubeconfig), "--insecure", *where),
        *(f"--ingress-class-name={CLASS}", f"--ingress-status-address={NODE_IP}", "--disable-leader-election"),
        *("--http-address=127.0.0.1", "--http-port=18000", "--health-address=127.0.0.1", "--health-port=18002"),
        *("--debug-http-address=127.0.0.1", "--stats-address=127.0.0.1", "--stats-port=18003"),
        *(f"--disable-feature={feature}" for feature in _FEATURES),
    ]
    envoy = [
        *(str(images.envoy_program()), "-c", str(bootstrap), "--service-cluster", "chat", "--service-node", "envoy"),
        *("--log-level", "warning", "--disable-hot-restart", "--concurrency", "1"),
    ]
    with _running(folder / "contour.log", serve) as check, _running(folder / "envoy.log", envoy):

        def serves() -> bool:
            check()
            return _listens(_XDS_PORT)

        wait_until("Contour to serve its Envoy", serves, 60)
        yield f"{HOST}:{PORT}"


def wait_listening() -> None:
    """Until its Envoy has been told of an Ingress: before the first it does not listen."""
    wait_until("Contour's Envoy to listen", lambda: _listens(PORT), 60)


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@contextlib.contextmanager
def _running(log: Path, command: Sequence[str]) -> Iterator[Callable[[], None]]:
    """Gives what raises :class:`HarnessError` when the program has ended."""
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT) as process:

        def check() -> None:
            if process.poll() is not None:
                raise HarnessError(f"{command[0]} ended:\n{log.read_text()[-3000:]}")

        try:
            yield check
            check()
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
