"""``make cluster``: a real Kubernetes with the chart installed and a ChatCluster running, until Ctrl-C."""

import argparse
import asyncio
import contextlib
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from chatnode.local.seed import furnish
from tests.cluster.harness import gateway, sign_in
from tests.cluster.harness.cache import HarnessError, say
from tests.cluster.harness.issuer import Issuer
from tests.cluster.harness.kubernetes import NODE_IP, Kubernetes
from tests.cluster.harness.relay import relayed
from tests.cluster.harness.resources import chat_cluster
from tests.cluster.harness.world import World, world

NAME, NAMESPACE = "chat", "school"
_API_PORT: Final = 6443


class Place:
    """The cluster as the demo's furniture movers see it."""

    def __init__(self, address: str, issuer: Issuer) -> None:
        self.url = f"http://{address}"
        self._issuer = issuer

    def token(self, user: str, *, name: str | None = None) -> str:
        return self._issuer.token(user, name=name or user)

    def service_token(self) -> str:
        return self._issuer.token("platform", scopes=["chat:admin"])


def build(running: World, scratch: Path, *, members: int) -> tuple[Issuer, str]:
    """Operator, gateway, sign-in and a ChatCluster that is ready; and where the gateway listens, inside."""
    issuer = Issuer()
    running.apply(*issuer.objects(running.image))
    running.install_chart()
    gateway.install(running, scratch)
    parent = {"name": gateway.NAME, "namespace": gateway.NAMESPACE}
    running.apply(*sign_in.objects(running.image, issuer, parent))
    running.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    exposure = {"type": "gateway", "gateway": parent}
    running.apply(chat_cluster(NAME, NAMESPACE, running, members=members, exposure=exposure))
    running.wait_condition(NAME, NAMESPACE, "Ready", seconds=420)
    running.kubectl("-n", "identity", "rollout", "status", "deploy/sign-in", "--timeout=120s")
    return issuer, gateway.address(running)


async def show(running: World, kubernetes: Kubernetes, issuer: Issuer, address: str, port: int) -> None:
    """Give a person loopback addresses, and wait for Ctrl-C."""
    asked = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, asked.set)
    async with contextlib.AsyncExitStack() as stack:
        page = await stack.enter_async_context(relayed(kubernetes, address, port))
        api = await stack.enter_async_context(relayed(kubernetes, f"{NODE_IP}:{_API_PORT}"))
        outside = kubernetes.folder / "kubeconfig.outside"
        text = running.kubeconfig.read_text("utf-8").replace(f"https://{NODE_IP}:{_API_PORT}", f"https://{api}")
        outside.write_text(text, "utf-8")
        await furnish(Place(page, issuer))
        print(f"\n  page     http://{page}/        pick a person; open a second browser for another one")
        print(f"  kubectl  export KUBECONFIG={outside} PATH={running.kubectl_folder}:$PATH")
        print(f"           kubectl -n {NAMESPACE} get chat,pods; kubectl -n {NAMESPACE} describe chat {NAME}")
        print("\n  Ctrl-C ends it and leaves nothing.", flush=True)
        await asked.wait()


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="make cluster", description=__doc__)
    parser.add_argument("--port", type=int, default=8080, help="of the page on loopback (default 8080)")
    parser.add_argument("--members", type=int, choices=(1, 3), default=3, help="of NATS and of MongoDB each")
    chosen = parser.parse_args(arguments)
    began = time.monotonic()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chatk8s-")))
        try:
            running = stack.enter_context(world(folder / "kubernetes", entered=False))
            if running.kubernetes is None:
                raise HarnessError("make cluster starts a cluster of its own: unset CHAT_TEST_KUBECONFIG")
            with running.kubernetes.entered():
                issuer, address = build(running, folder / "gateway", members=chosen.members)
            say(f"ready after {time.monotonic() - began:.0f} s")
            asyncio.run(show(running, running.kubernetes, issuer, address, chosen.port))
        except KeyboardInterrupt:
            say("ended before it was ready")
            return 130
        except HarnessError as error:
            say(str(error))
            return 1
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):  # what is being taken away is taken away whole
                signal.signal(number, signal.SIG_IGN)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
