"""Who acts, and how much: the Lease, and two hundred ChatClusters, on a real kube-apiserver."""

import asyncio
import os
import resource as process
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from chatoperator.kube import Kube
from chatoperator.lease import Lease, LeaseLost, LeaseTimes
from chatoperator.objects import Ref, text
from chatoperator.reconcile import Reconciler
from tests.cluster.harness.bare import asked, reconciler
from tests.cluster.harness.figures import Figures
from tests.cluster.harness.world import World

pytestmark = [pytest.mark.timeout(600), pytest.mark.asyncio(loop_scope="module")]


@pytest.fixture(scope="module", autouse=True)
def leases(server: World) -> Iterator[None]:
    """Those of the tests go with them."""
    yield
    server.kubectl("delete", "lease", "handed-on", "left", "taken", "chat-operator", "--ignore-not-found")


def _lease(kube: Kube, name: str, holder: str) -> Lease:
    times = LeaseTimes(duration_s=2, renew_s=0.3)
    return Lease(kube, namespace="default", name=name, holder=holder, clock=time.monotonic, times=times)


async def _holder(kube: Kube, name: str) -> str:
    return text(await kube.get(Ref("coordination.k8s.io/v1", "Lease", name), "default"), "spec", "holderIdentity")


async def test_a_lease_is_handed_on_at_once_by_who_releases_it(kube: Kube) -> None:
    first, second = _lease(kube, "handed-on", "a"), _lease(kube, "handed-on", "b")
    await first.acquire()
    waiting = asyncio.create_task(second.acquire())
    keeping = asyncio.create_task(first.keep())
    await asyncio.sleep(3)
    assert not waiting.done()
    keeping.cancel()
    began = time.monotonic()
    await first.release()
    await waiting
    assert time.monotonic() - began < 1.5
    assert await _holder(kube, "handed-on") == "b"


async def test_a_lease_whose_holder_is_gone_is_taken_when_its_time_is_over(kube: Kube) -> None:
    await _lease(kube, "left", "a").acquire()
    began = time.monotonic()
    await _lease(kube, "left", "b").acquire()
    assert 2 <= time.monotonic() - began < 4
    assert await _holder(kube, "left") == "b"


async def test_who_wakes_up_and_finds_its_lease_taken_stops(kube: Kube) -> None:
    first = _lease(kube, "taken", "a")
    await first.acquire()
    await _lease(kube, "taken", "b").acquire()
    with pytest.raises(LeaseLost):
        await first.keep()
    await first.release()
    assert await _holder(kube, "taken") == "b"


async def test_an_operator_whose_lease_is_taken_ends_with_an_error(server: World) -> None:
    env = {
        **os.environ,
        "CHAT_OPERATOR_IMAGE": "chat:1",
        "CHAT_OPERATOR_KUBECONFIG": str(server.kubeconfig),
        "CHAT_OPERATOR_HEALTH_PORT": "0",
        "CHAT_OPERATOR_INSTANCE": "first",
        "CHAT_OPERATOR_WATCH": "nowhere",
    }
    command = (sys.executable, "-m", "chatoperator.main", "run")
    running = await asyncio.create_subprocess_exec(*command, env=env, stderr=asyncio.subprocess.PIPE)
    assert running.stderr is not None
    try:
        async with asyncio.timeout(60):
            while b"holding the lease" not in await running.stderr.readline():
                pass
            patch = '{"spec":{"holderIdentity":"second"}}'
            server.kubectl("patch", "lease", "chat-operator", "--type=merge", "-p", patch)
            _, told = await running.communicate()
    finally:
        if running.returncode is None:
            running.kill()
            await running.wait()
    assert running.returncode == 1
    assert "the lease chat-operator could not be renewed" in told.decode()


@pytest.mark.long
async def test_many_clusters_are_looked_at_again_without_a_write(api: World, kube: Kube, figures: Figures) -> None:
    names = [f"many-{number}" for number in range(200)]
    visitor = reconciler(kube)
    began = time.monotonic()
    api.apply(*(asked(name) for name in names))
    for _ in range(4):
        await _each(names, lambda name: _visit(visitor, name))
    figures.set("clusters_created_s", round(time.monotonic() - began, 1))
    fresh = reconciler(kube)
    began = time.monotonic()
    await _each(names, lambda name: _visit(fresh, name))
    took = time.monotonic() - began
    figures.set("clusters_resynced_s", round(took, 1))
    assert fresh.writes == 0
    assert took <= 60
    figures.set("resync_process_rss_mib", round(process.getrusage(process.RUSAGE_SELF).ru_maxrss / 1024))


async def _visit(visitor: Reconciler, name: str) -> None:
    await visitor.visit(("default", name))


async def _each(names: list[str], work: Callable[[str], object]) -> None:
    gate = asyncio.Semaphore(16)

    async def one(name: str) -> None:
        async with gate:
            await work(name)  # type: ignore[misc]  # a coroutine

    async with asyncio.TaskGroup() as group:
        for name in names:
            group.create_task(one(name))
