"""Causes on a real kube-apiserver: what is refused to the operator, and what keeps pods from coming up, is told."""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
import yaml

from chatoperator.apply import Applier
from chatoperator.kube import Kube
from chatoperator.nodes import Nodes
from chatoperator.objects import Ref, items, text
from chatoperator.observe import Observer
from chatoperator.plan.naming import labels as labels_of
from chatoperator.reconcile import Reconciler
from chatoperator.spec import parse
from tests.cluster.harness.bare import NAMES, asked, children, reconciler, resource, settle
from tests.cluster.harness.world import World

pytestmark = [pytest.mark.timeout(600), pytest.mark.asyncio(loop_scope="module")]


@pytest.fixture
def refusal(api: World, cluster: str) -> Iterator[str]:
    """Somebody's admission policy, which takes no Service of this cluster; gives its words."""
    words = "services are made by the network team"
    policy = "admissionregistration.k8s.io/v1"
    api.apply(
        {
            "apiVersion": policy,
            "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": "no-services"},
            "spec": {
                "matchConstraints": {
                    "resourceRules": [
                        {
                            "apiGroups": [""],
                            "apiVersions": ["v1"],
                            "resources": ["services"],
                            "operations": ["CREATE", "UPDATE"],
                        }
                    ]
                },
                "validations": [{"expression": f"object.metadata.name != '{cluster}'", "message": words}],
            },
        },
        {
            "apiVersion": policy,
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": "no-services"},
            "spec": {"policyName": "no-services", "validationActions": ["Deny"]},
        },
    )
    yield words
    for kind in ("validatingadmissionpolicybinding", "validatingadmissionpolicy"):
        api.kubectl("delete", kind, "no-services", "--ignore-not-found")


async def test_a_write_that_is_refused_is_told_while_all_others_are_done(
    api: World, kube: Kube, cluster: str, refusal: str
) -> None:
    gone = [Ref("v1", "Service", cluster), Ref("v1", "ConfigMap", f"{cluster}-node")]
    visitor = reconciler(kube)

    async def told() -> bool:
        for where in gone:
            await kube.delete(where, "default")
        for _ in range(2):
            await visitor.visit(("default", cluster))
        return refusal in api.condition(cluster, "default", "Ready")["message"]

    for _ in range(50):  # an API server takes a moment to know a policy
        if await told():
            break
    ready = api.condition(cluster, "default", "Ready")
    assert ready["status"] == "False"
    assert f"services/{cluster}" in ready["message"]
    assert refusal in ready["message"]
    assert gone[1] in await children(kube, cluster)
    found = [text(each, "note") for each in await kube.list("events.k8s.io/v1", "Event", "default")]
    assert any(refusal in note for note in found)
    api.kubectl("delete", "validatingadmissionpolicybinding", "no-services")
    for _ in range(50):
        for _ in range(3):
            await visitor.visit(("default", cluster))
        if gone[0] in await children(kube, cluster):
            break
    for _ in range(2):
        await visitor.visit(("default", cluster))
    assert not items(await resource(kube, cluster), "status", "troubles")


async def test_an_operator_without_a_right_says_which_and_for_which_object(
    api: World, kube: Kube, tmp_path: Path
) -> None:
    """First it may not write ConfigMaps, then it may not read either."""
    name, account = next(NAMES), "narrow"
    reading = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list"]}
    written = {
        "": ["secrets", "services", "serviceaccounts"],
        "apps": ["*"],
        "chat.skillhub.io": ["*"],
        "events.k8s.io": ["*"],
        "networking.k8s.io": ["*"],
        "policy": ["*"],
    }
    writing = [{"apiGroups": [group], "resources": kinds, "verbs": ["*"]} for group, kinds in written.items()]
    _allow(api, account, [reading, *writing])
    api.apply(asked(name))
    async with await Kube.connect(str(_kubeconfig(api, account, tmp_path))) as narrow:
        visitor = reconciler(narrow)
        for _ in range(4):
            await visitor.visit(("default", name))
        ready = api.condition(name, "default", "Ready")["message"]
        for words in (f"configmaps/{name}-node", "forbidden", "the operator lacks the right"):
            assert words in ready
        assert Ref("apps/v1", "Deployment", f"{name}-node") in await children(kube, name)
        _allow(api, account, writing[1:])
        visitor.wake(("default", name))
        async with asyncio.timeout(60):
            while "does not get on" not in api.condition(name, "default", "Ready")["message"]:
                await asyncio.sleep(0.2)
        ready_now = api.condition(name, "default", "Ready")
        assert (ready_now["status"], ready_now["reason"]) == ("False", "NotLookedAt")
        assert "forbidden" in ready_now["message"]
        told = [text(each, "reason") for each in await kube.list("events.k8s.io/v1", "Event", "default")]
        assert "Trouble" in told
        await visitor.stop()
    await settle(reconciler(kube), name)
    assert not items(await resource(kube, name), "status", "troubles")
    api.kubectl("delete", "chatcluster", name)
    api.kubectl("delete", "clusterrole,clusterrolebinding", account)
    api.kubectl("delete", "serviceaccount", account)


def _allow(api: World, account: str, rules: Sequence[Mapping[str, object]]) -> None:
    rights = "rbac.authorization.k8s.io"
    api.apply(
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account, "namespace": "default"}},
        {"apiVersion": f"{rights}/v1", "kind": "ClusterRole", "metadata": {"name": account}, "rules": rules},
        {
            "apiVersion": f"{rights}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": account},
            "roleRef": {"apiGroup": rights, "kind": "ClusterRole", "name": account},
            "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": "default"}],
        },
    )


def _kubeconfig(api: World, account: str, folder: Path) -> Path:
    """Of who comes in as that account."""
    whole = yaml.safe_load(api.kubeconfig.read_text("utf-8"))
    token = api.kubectl("create", "token", account).strip()
    whole["users"] = [{"name": "admin", "user": {"token": token}}]
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(whole), "utf-8")
    return path


async def test_pods_that_cannot_be_made_or_started_are_told_with_their_cause(
    api: World, kube: Kube, cluster: str
) -> None:
    """Written here as controllers and kubelets write it: nobody else is there to do so."""
    api.apply(
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": "default"}},
    )
    pod = f"{cluster}-node-a"
    made = parse(await resource(kube, cluster))
    labels = labels_of(made, "node")
    container = {"name": "node", "image": "chat:9"}
    spec = {"containers": [container], "automountServiceAccountToken": False}
    meta = {"name": pod, "namespace": "default", "labels": dict(labels)}
    api.apply({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})
    waiting = {"reason": "ImagePullBackOff", "message": "Back-off pulling image: ErrImagePull: no such image"}
    status = {"phase": "Pending", "containerStatuses": [_waiting(waiting)]}
    _status(api, "pod", pod, status)
    failure = {
        "type": "ReplicaFailure",
        "status": "True",
        "reason": "FailedCreate",
        "message": "pods is forbidden: exceeded quota: small",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    _status(api, "deployment", f"{cluster}-worker", {"conditions": [failure]})
    warning = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{cluster}-nats.1", "namespace": "default"},
        "involvedObject": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": f"{cluster}-nats"},
        "reason": "FailedCreate",
        "type": "Warning",
        "message": "create Pod failed: exceeded quota: tiny",
    }
    api.apply({**warning, "involvedObject": {**warning["involvedObject"], "namespace": "default"}})  # type: ignore[dict-item]
    # As if a while had passed: a pod has a moment to come up.
    nodes, later = Nodes(), time.time() + 60
    observer = Observer(kube, nodes, image="chat:1", version="test", clock=time.monotonic, wall=lambda: later)
    visitor = Reconciler(
        kube,
        observer,
        Applier(kube, nodes),
        clock=time.monotonic,
        instance="test",
        wall=lambda: datetime.fromtimestamp(later, UTC),
    )
    await visitor.visit(("default", cluster))
    troubles = items(await resource(kube, cluster), "status", "troubles")
    for words in (
        f"{pod}: image chat:9 cannot be pulled: no such image",
        f"{cluster}-worker: its pods are refused: pods is forbidden: exceeded quota: small; raise the ResourceQuota",
        f"{cluster}-nats: its pods are refused: create Pod failed: exceeded quota: tiny; raise the ResourceQuota",
    ):
        assert any(str(each).startswith(words) for each in troubles), (words, troubles)
    before = visitor.writes
    await visitor.visit(("default", cluster))
    assert visitor.writes == before, "the same cause is told once"
    api.kubectl("delete", "pod", pod, "--force", "--grace-period=0")


def _waiting(reason: Mapping[str, str]) -> Mapping[str, object]:
    common = {"name": "node", "image": "chat:9", "imageID": "", "ready": False, "restartCount": 0}
    return {**common, "state": {"waiting": reason}}


def _status(api: World, kind: str, name: str, status: Mapping[str, object]) -> None:
    patch = msgspec.json.encode({"status": status}).decode()
    api.kubectl("patch", kind, name, "--subresource=status", "--type=merge", "-p", patch)
