"""Steps of a drain against a real kube-apiserver: marks on pods, and what is refused to who has read something old."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime

import msgspec
import pytest
import pytest_asyncio

from chatoperator.apply import Applier, marked
from chatoperator.autoscale.samples import Memory
from chatoperator.drain.batch import Batch, Victim
from chatoperator.drain.wishes import Mark
from chatoperator.kube import ApiError, Kube
from chatoperator.nodes import Nodes
from chatoperator.objects import Object, Ref, at, text
from chatoperator.observe import Observer, last_status, pod
from chatoperator.plan.decide import plan
from chatoperator.plan.naming import AUTOSCALER, DELETION_COST, ENTRY, selector
from chatoperator.spec import KIND, parse
from tests.cluster.harness.bare import reconciler, replicas, resource, settle
from tests.cluster.harness.world import World

pytestmark = [pytest.mark.timeout(600), pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(loop_scope="module")
async def pods(api: World, kube: Kube, cluster: str) -> AsyncIterator[list[str]]:
    """Two pods as the Deployment would have them; nothing runs them."""
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": "default"}}
    labels = {**selector(parse(await resource(kube, cluster)), "node"), ENTRY: "open", "pod-template-hash": "r1"}
    container = {"name": "node", "image": "chat:1"}
    spec = {"containers": [container], "automountServiceAccountToken": False, "nodeName": "nowhere"}
    names = [f"{cluster}-node-{letter}" for letter in "ab"]
    api.apply(
        account,
        *(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": name, "namespace": "default", "labels": dict(labels)},
                "spec": spec,
            }
            for name in names
        ),
    )
    yield names
    api.kubectl("delete", "pod", *names, "--force", "--grace-period=0", "--ignore-not-found")


async def _pod(kube: Kube, name: str) -> Object:
    found = await kube.get(Ref("v1", "Pod", name), "default")
    assert found is not None
    return found


async def test_a_pod_is_marked_by_its_uid_and_unmarked_again(kube: Kube, pods: list[str]) -> None:
    before = await _pod(kube, pods[0])
    uid = text(before, "metadata", "uid")
    await kube.apply(marked(Mark(uid, pods[0], entry=False, cost=-5), "default"), AUTOSCALER)
    found = await _pod(kube, pods[0])
    assert (pod(found).entry, pod(found).deletion_cost) == (False, -5)
    with pytest.raises(ApiError) as refused:
        await kube.apply(marked(Mark("another-uid", pods[0], entry=True), "default"), AUTOSCALER)
    assert refused.value.status == 422
    await kube.apply(marked(Mark(uid, pods[0], entry=True), "default"), AUTOSCALER)
    found = await _pod(kube, pods[0])
    assert (pod(found).entry, pod(found).deletion_cost) == (True, None)


async def test_what_was_seen_of_pods_is_whose_mark_is_whose(
    api: World, kube: Kube, cluster: str, pods: list[str]
) -> None:
    api.kubectl("annotate", "pod", pods[1], f"{DELETION_COST}=7")
    uid = text(await _pod(kube, pods[0]), "metadata", "uid")
    await kube.apply(marked(Mark(uid, pods[0], entry=True, cost=-5), "default"), AUTOSCALER)
    found = await resource(kube, cluster)
    observer = Observer(kube, Nodes(), image="chat:1", version="test", clock=time.monotonic)
    seen = await observer.see(parse(found), at(found, "status"), Memory())
    assert {each.name: each.deletion_cost for each in seen.observed.nodes.pods} == {pods[0]: -5, pods[1]: 7}
    assert seen.observed.nodes.ours == {uid}
    await settle(reconciler(kube), cluster)
    found = api.get("chatcluster", cluster, "default")
    assert found is not None
    assert at(found["status"], "strangers") == [pods[1]]  # type: ignore[arg-type]  # JSON
    assert pod(await _pod(kube, pods[0])).deletion_cost is None, "what was left of a drain that is no more"


async def test_a_step_of_a_drain_is_refused_when_another_has_written(kube: Kube, cluster: str) -> None:
    applier = Applier(kube, Nodes())
    found = await resource(kube, cluster)
    asked_for, before = parse(found), last_status(at(found, "status"))
    version = text(found, "metadata", "resourceVersion")
    batch = Batch(victims=(Victim("u", "p"),), began=1, since=1, replicas=2)
    await applier.tell(asked_for, msgspec.structs.replace(before, drain=batch), before, version)
    other = Batch(victims=(Victim("v", "q"),), began=1, since=1, replicas=2)
    with pytest.raises(ApiError) as refused:
        await applier.tell(asked_for, msgspec.structs.replace(before, drain=other), before, version)
    assert refused.value.conflict
    kept = last_status(at(await resource(kube, cluster), "status"))
    assert kept.drain == batch
    await settle(reconciler(kube), cluster)
    assert last_status(at(await resource(kube, cluster), "status")).drain is msgspec.UNSET, "its pods do not exist"


async def test_replicas_are_not_lowered_by_what_was_read_before_another_wrote(
    api: World, kube: Kube, cluster: str
) -> None:
    where = Ref("apps/v1", "Deployment", f"{cluster}-node")
    stale = await kube.get(where, "default")
    assert stale is not None
    api.kubectl("annotate", "deployment", where.name, "touched=yes")
    found = await resource(kube, cluster)
    observer = Observer(kube, Nodes(), image="chat:1", version="test", clock=time.monotonic)
    seen = await observer.see(parse(found), at(found, "status"), Memory())
    desired = plan(parse(found), seen.observed, datetime.now(UTC))
    assert desired.scale is not None
    lower = msgspec.structs.replace(desired, scale=msgspec.structs.replace(desired.scale, replicas=1, lowered=True))
    applier = Applier(kube, Nodes())
    done = await applier.bring(parse(found), lower, {**seen.live, where: stale}, seen.observed)
    assert len(done.refused) == 1
    assert await replicas(kube, cluster) == 2
    done = await applier.bring(parse(found), lower, seen.live, seen.observed)
    assert (done.refused, await replicas(kube, cluster)) == ((), 1)


class OvertakenKube(Kube):
    """Between reading a ChatCluster and what comes then, somebody else acts: once, where it is told to."""

    overtake: Callable[[], Awaitable[None]] | None = None

    async def get(self, where: Ref, namespace: str) -> Object | None:
        found = await super().get(where, namespace)
        if where.kind == KIND and self.overtake is not None:
            other, self.overtake = self.overtake, None
            await other()
        return found


async def test_who_has_read_a_status_before_another_went_on_takes_nothing_back(
    api: World, kube: Kube, cluster: str
) -> None:
    """The other has come to the end of a drain and lowered replicas: no pod is asked for again, and its step stays."""
    batch = Batch(victims=(Victim("u", "p"),), began=1, since=1, replicas=2, phase="Going")

    async def lower() -> None:
        found = await resource(kube, cluster)
        before = last_status(at(found, "status"))
        after = msgspec.structs.replace(before, drain=batch)
        version = text(found, "metadata", "resourceVersion")
        await Applier(kube, Nodes()).tell(parse(found), after, before, version)
        scale = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": f"{cluster}-node", "namespace": "default"},
            "spec": {"replicas": 1},
        }
        await kube.apply(scale, AUTOSCALER)

    assert await replicas(kube, cluster) == 2
    async with await OvertakenKube.connect(str(api.kubeconfig)) as overtaken:
        overtaken.overtake = lower
        with pytest.raises(ApiError) as refused:
            await reconciler(overtaken).visit(("default", cluster))
    assert refused.value.conflict
    assert await replicas(kube, cluster) == 1
    assert last_status(at(await resource(kube, cluster), "status")).drain == batch
