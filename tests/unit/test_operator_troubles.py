"""Causes that a person can act upon: what a status says of pods, volumes, quotas, rights and certificates."""

from collections.abc import Mapping, Sequence
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatoperator.events import news
from chatoperator.objects import Json, Object
from chatoperator.plan.decide import plan
from chatoperator.plan.exposure import GatewaySupport
from chatoperator.plan.mongodb import MongoView
from chatoperator.plan.observed import ClusterStatus, Workload
from chatoperator.plan.status import hindered
from chatoperator.plan.troubles import Trouble, by_event, by_itself, of_pod, of_workload, told
from tests.unit.operator_cases import LATER, NOW, certificates, cluster, held, members, observed

CREATED = "2026-11-24T11:00:00Z"
SOON = "2026-11-24T11:59:50Z"
"""Ten seconds before now."""
PULLING = "failed to pull and unpack image: not found"


def pod(component: str = "node", *, phase: str = "Pending", **status: Json) -> Object:
    labels = {"app.kubernetes.io/component": component}
    return {
        "metadata": {"name": f"chat-{component}-0", "labels": labels, "creationTimestamp": CREATED},
        "spec": {"containers": [{"name": component, "image": "chat:9"}]},
        "status": {"phase": phase, "podIP": "192.0.2.7", **status},
    }


def container(component: str = "node", **state: Json) -> Json:
    return [{"name": component, "restartCount": 0, "ready": False, **state}]


def waiting(reason: str, message: str = "", component: str = "node", **more: Json) -> Json:
    return container(component, state={"waiting": {"reason": reason, "message": message}}, **more)


def unready(**more: Json) -> Json:
    return [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": "False", **more}]


CAUSES: list[tuple[str, Object, Sequence[str]]] = [
    (
        "image",
        pod(containerStatuses=waiting("ErrImagePull", PULLING)),
        ["image chat:9 cannot be pulled", "not found", "image.pullSecrets"],
    ),
    (
        "init image",
        pod("mongodb", initContainerStatuses=waiting("InvalidImageName", "bad", "mongodb")),
        ["image chat:9 cannot be pulled: bad"],
    ),
    (
        "Secret",
        pod(containerStatuses=waiting("CreateContainerConfigError", 'secret "my-nats" not found')),
        ['secret "my-nats" not found', "does the Secret or ConfigMap exist"],
    ),
    (
        "crash",
        pod(containerStatuses=waiting("CrashLoopBackOff", lastState={"terminated": {"exitCode": 3}})),
        ["exit code 3", "kubectl logs --previous"],
    ),
    (
        "memory",
        pod(containerStatuses=container(state={"terminated": {"exitCode": 137, "reason": "OOMKilled"}})),
        ["more memory", "nodes.resources.limits.memory"],
    ),
    (
        "volume",
        pod(
            "nats",
            conditions=[
                {
                    "type": "PodScheduled",
                    "status": "False",
                    "message": "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims.",
                }
            ],
        ),
        ["unbound immediate PersistentVolumeClaims", "nats.managed.storage", "kubectl get pvc"],
    ),
    (
        "room",
        pod(conditions=[{"type": "PodScheduled", "status": "False", "message": "0/1 nodes: 1 Insufficient cpu."}]),
        ["Insufficient cpu", "lower nodes.resources.requests, or add machines"],
    ),
]


@pytest.mark.parametrize(("what", "thing", "words"), CAUSES, ids=[each[0] for each in CAUSES])
def test_a_pod_that_does_not_come_up_says_why_and_what_to_do(what: str, thing: Object, words: Sequence[str]) -> None:
    found = of_pod(thing, NOW.timestamp())
    assert found is not None
    for each in words:
        assert each in str(found), what


WELL = [
    pod(phase="Running", conditions=[{"type": "Ready", "status": "True"}]),
    pod(phase="Succeeded"),
    {**pod(), "metadata": {"name": "x", "deletionTimestamp": CREATED}},
]


@pytest.mark.parametrize("thing", WELL)
def test_a_pod_that_is_well_or_ends_has_no_trouble(thing: Object) -> None:
    assert of_pod(thing, NOW.timestamp()) is None


def test_attempt_and_back_off_are_one_cause_in_the_same_words() -> None:
    attempts = (
        pod(containerStatuses=waiting("ErrImagePull", PULLING)),
        pod(containerStatuses=waiting("ImagePullBackOff", f'Back-off pulling image "chat:9": ErrImagePull: {PULLING}')),
    )
    assert len({of_pod(each, NOW.timestamp()) for each in attempts}) == 1
    ended: Object = {"terminated": {"exitCode": 1, "reason": "Error"}}
    crashes = (
        pod(containerStatuses=waiting("CrashLoopBackOff", "back-off 10s", lastState=ended)),
        pod(containerStatuses=waiting("CrashLoopBackOff", "back-off 5m0s", lastState=ended)),
        pod(containerStatuses=container(state=ended)),
        pod(containerStatuses=container(state={"running": {"startedAt": SOON}}, lastState=ended)),
    )
    assert len({of_pod(each, NOW.timestamp()) for each in crashes}) == 1


def test_a_node_that_runs_but_is_not_ready_is_asked_and_one_that_crashed_long_ago_too() -> None:
    running = {"running": {"startedAt": CREATED}}
    for last in ({}, {"terminated": {"exitCode": 1}}):
        statuses = container(state=running, lastState=last)
        found = of_pod(pod(phase="Running", conditions=unready(), containerStatuses=statuses), NOW.timestamp())
        assert found is not None
        assert found.ask == "itself"
        assert "NATS is away; does DatastoresReady name it" in str(by_itself(found, ["NATS is away"]))
        assert "does not answer on port 9100" in str(by_itself(found, None))
        assert by_itself(found, ["draining"]) is None


def test_seconds_that_pass_do_not_make_it_another_trouble() -> None:
    asked = Trouble("node", "a", "")
    words = {str(by_itself(asked, [f"control was not heard for {seconds} s"])) for seconds in (7, 8, 120)}
    assert len(words) == 1


def test_what_only_events_know_is_taken_from_the_newest() -> None:
    found = of_pod(pod(containerStatuses=waiting("ContainerCreating")), NOW.timestamp())
    assert found is not None
    assert found.ask == "events"

    def warning(name: str, message: str, at: str) -> Object:
        return {"involvedObject": {"name": name}, "message": message, "lastTimestamp": at}

    about = found.about
    warnings = [warning(about, "new", SOON), warning(about, "old", CREATED), warning("other", "newer", "2027")]
    assert "does not get ready: new" in str(by_event(found, warnings))
    assert by_event(found, []) is None


def test_pods_that_a_quota_refuses_are_told_of_both_kinds_of_workload() -> None:
    words = 'pods "chat-nats-0" is forbidden: exceeded quota: small'
    failure = {"type": "ReplicaFailure", "status": "True", "message": words}
    deployment: Object = {"kind": "Deployment", "metadata": {"name": "chat-node"}, "status": {"conditions": [failure]}}
    assert "exceeded quota: small; raise the ResourceQuota" in str(of_workload(deployment, "node", []))
    members: Object = {
        "kind": "StatefulSet",
        "metadata": {"name": "chat-nats"},
        "spec": {"replicas": 3},
        "status": {"replicas": 0},
    }
    warning: Object = {"involvedObject": {"name": "chat-nats"}, "reason": "FailedCreate", "message": words}
    assert "exceeded quota: small; raise the ResourceQuota" in str(of_workload(members, "nats", [warning]))
    assert of_workload(members, "nats", []) is None
    assert of_workload({**members, "status": {"replicas": 3}}, "nats", [warning]) is None, "it has them by now"


@given(st.lists(st.tuples(st.sampled_from(("", "node", "worker", "nats", "mongodb")), st.integers(0, 40)), max_size=30))
def test_however_many_there_are_few_are_told_and_always_in_the_same_order(found: list[tuple[str, int]]) -> None:
    troubles = [Trouble(component, f"{component}-{number}", "sick") for component, number in set(found)]
    first = told(troubles, NOW)
    assert first == told(troubles[::-1], NOW)
    assert len(first) <= 5 * 4
    assert {each.component for each in first} == {component for component, _ in found}


def test_what_passes_by_itself_is_not_told() -> None:
    young = Trouble("node", "a", "sick", NOW.timestamp() - 5)
    assert told([young], NOW) == ()
    assert told([young], NOW + timedelta(seconds=25)) == (young,)


def test_nodes_that_wait_for_datastores_are_no_cause_while_those_are_not_whole() -> None:
    waiting_for = by_itself(Trouble("node", "a", ""), ["starting"])
    assert waiting_for is not None
    broken = Trouble("node", "b", "it ends with exit code 1")
    assert told([waiting_for, broken], NOW) == (waiting_for, broken)
    assert told([waiting_for, broken], NOW, whole=False) == (broken,)
    found = status(mongodb=None, troubles=(waiting_for, broken))
    assert found.troubles == ("b: it ends with exit code 1",)
    assert len(status(troubles=(waiting_for, broken)).troubles) == 2


# The status.

STUCK = Trouble("nats", "chat-nats-2", "image nats:0 cannot be pulled")


def status(**changes: object) -> ClusterStatus:
    return plan(cluster(), observed(**changes), NOW).status


def message(found: ClusterStatus, kind: str) -> str:
    condition = found.condition(kind)
    assert condition is not None
    return condition.message


def test_a_cause_is_in_ready_in_the_condition_that_it_concerns_and_in_an_event() -> None:
    workloads = {**observed().workloads, "nats": Workload(3, 3, 3, 2)}
    found = status(workloads=workloads, troubles=(STUCK,))
    for kind in ("Ready", "Progressing", "DatastoresReady"):
        assert "chat-nats-2: image nats:0 cannot be pulled" in message(found, kind)
    assert found.troubles == ("chat-nats-2: image nats:0 cannot be pulled",)
    events = news(status(), found)
    assert [each.message for each in events if each.reason == "Trouble"] == list(found.troubles)
    assert all(each.warning for each in events if each.reason == "Trouble")
    assert [each for each in news(found, found) if each.reason == "Trouble"] == []


def test_a_write_that_was_refused_keeps_it_from_being_ready() -> None:
    found = status(troubles=(Trouble("", "", "not written: PATCH services: 403"),))
    ready = found.condition("Ready")
    assert ready is not None
    assert (ready.status, ready.message) == ("False", "not written: PATCH services: 403")


def test_visits_that_fail_are_told_once_and_keep_the_other_conditions() -> None:
    before = status()
    after = hindered(cluster(), before, "the operator does not get on: no answer", LATER)
    ready = after.condition("Ready")
    assert ready is not None
    assert (ready.status, ready.reason, ready.last_transition_time) == ("False", "NotLookedAt", "2026-11-24T13:00:00Z")
    assert {each.type for each in after.conditions} == {each.type for each in before.conditions}
    assert hindered(cluster(), after, "the operator does not get on: no answer", LATER) == after


SILENCE = "chat-mongodb-1:27017 is not reached: [Errno 111] Connection refused"
STORES: list[tuple[Mapping[str, object], Sequence[str]]] = [
    ({"mongodb": None}, ["no MongoDB member is ready yet"]),
    ({"mongodb": MongoView(silence=SILENCE)}, ["0 of 3 MongoDB members answer the operator", "Connection refused"]),
    ({"mongodb": MongoView(answering=("a", "b", "c"))}, ["not initiated yet"]),
    (
        {"mongodb": MongoView(answering=("a",), initiated=True, members=members(3), silence=SILENCE)},
        ["MongoDB has no primary; 1 of 3 members answer", "Connection refused", "more than half of them"],
    ),
    (
        {"certificates": certificates(nats=held("nats", days=-1))},
        ["the certificate in Secret chat-nats-tls has ended", "the operator renews it"],
    ),
]


@pytest.mark.parametrize(("changes", "words"), STORES)
def test_datastores_that_are_not_whole_say_why(changes: Mapping[str, object], words: Sequence[str]) -> None:
    found = status(**changes)
    ready = found.condition("DatastoresReady")
    assert ready is not None
    assert ready.status == "False"
    for each in words:
        assert each in ready.message
        assert each in message(found, "Ready")


WAYS: list[tuple[Mapping[str, object], str]] = [
    (
        {"type": "gateway", "gateway": {"name": "public", "namespace": "gateways"}},
        "is there a Gateway gateways/public with a controller, and do its listeners allow routes from school?",
    ),
    (
        {"type": "ingress", "host": "h.test", "ingress": {"profile": "haproxy", "className": "fast"}},
        "is there a controller for the class fast?",
    ),
    (
        {"type": "ingress", "host": "h.test", "ingress": {"profile": "traefik"}},
        "is there a default class, with a controller?",
    ),
]


@pytest.mark.parametrize(("exposure", "words"), WAYS)
def test_a_way_in_that_nobody_takes_up_says_who_should(exposure: Mapping[str, object], words: str) -> None:
    found = plan(cluster(exposure=exposure), observed(gateway=GatewaySupport(routes=True)), NOW).status
    condition = found.condition("ExposureAccepted")
    assert condition is not None
    assert (condition.status, condition.reason) == ("Unknown", "Waiting")
    assert words in condition.message
    assert words in message(found, "Ready")
