"""What the operator decides: whole objects against golden files, and what holds for every spec."""

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from chatoperator.crd import as_yaml
from chatoperator.objects import Object, at, covers, items, mapping, ref, text
from chatoperator.plan.decide import Desired, plan
from chatoperator.plan.exposure import GatewaySupport
from chatoperator.plan.naming import CHECKSUM, PAUSED
from chatoperator.plan.observed import Observed, RouteView
from chatoperator.spec import ChatCluster
from tests.unit.operator_cases import AUTH, CREDENTIALS, LATER, NOW, SOON, cluster, example, nodes, observed, settled

GOLDEN = Path(__file__).with_name("operator_golden")
PERSISTENCE = frozenset({"type", "sessionName", "cookieConfig", "absoluteTimeout", "idleTimeout"})
ENVOY_GATEWAY = GatewaySupport(routes=True, session_persistence=PERSISTENCE, envoy_traffic_policy=True)


def objects(desired: Desired) -> Mapping[str, Object]:
    return {f"{ref(thing).kind}/{ref(thing).name}": thing for thing in desired.objects}


def templates(desired: Desired) -> Mapping[str, Object]:
    found = {name: mapping(thing, "spec", "template") for name, thing in objects(desired).items()}
    return {name: template for name, template in found.items() if template}


@pytest.mark.parametrize("name", ["smallest", "trial", "production", "full"])
def test_every_object_of_an_example_is_as_recorded(name: str) -> None:
    desired = plan(example(name), observed(gateway=ENVOY_GATEWAY), NOW)
    written = "---\n".join(as_yaml(thing) for thing in desired.objects)
    path = GOLDEN / f"{name}.yaml"
    if os.environ.get("CHAT_UPDATE_GOLDEN"):
        path.write_text(written, "utf-8")
    assert path.read_text("utf-8") == written


@pytest.mark.parametrize("profile", ["traefik", "haproxy", "haproxytech", "contour", "nginx-legacy"])
def test_every_ingress_profile_is_as_recorded(profile: str) -> None:
    exposure = {"type": "ingress", "host": "chat.example.org", "tlsSecret": "tls", "ingress": {"profile": profile}}
    found = objects(plan(cluster(exposure=exposure), observed(), NOW))
    written = as_yaml(found["Ingress/chat-ingress"]) + "---\n" + as_yaml(found["Service/chat"])
    path = GOLDEN / f"ingress-{profile}.yaml"
    if os.environ.get("CHAT_UPDATE_GOLDEN"):
        path.write_text(written, "utf-8")
    assert path.read_text("utf-8") == written


# What holds for every spec.


def _spec() -> st.SearchStrategy[ChatCluster]:
    resources = st.fixed_dictionaries(
        {"requests": st.dictionaries(st.sampled_from(["cpu", "memory"]), st.sampled_from(["1", "500m", "1Gi"]))}
    )
    return st.builds(
        lambda nodes, workers, nats, mongodb, exposure, drain: cluster(
            nodes=nodes, workers=workers, nats=nats, mongodb=mongodb, exposure=exposure, drain=drain
        ),
        st.fixed_dictionaries(
            {
                "min": st.integers(1, 5),
                "max": st.integers(5, 20),
                "replicas": st.integers(1, 30),
                "resources": resources,
            }
        ),
        st.fixed_dictionaries({"replicas": st.integers(1, 32)}),
        st.sampled_from([{"managed": {"replicas": 1}}, {"managed": {"replicas": 3}}, {"external": {"secret": "n"}}]),
        st.sampled_from([{"managed": {"replicas": 1}}, {"managed": {"replicas": 3}}, {"external": {"secret": "m"}}]),
        st.sampled_from(
            [
                {"type": "none"},
                {"type": "gateway", "gateway": {"name": "g"}},
                {"type": "ingress", "host": "h.example", "ingress": {"profile": "traefik"}},
            ]
        ),
        st.fixed_dictionaries({"windowSeconds": st.integers(0, 3600), "settleSeconds": st.integers(0, 300)}),
    )


def _observations() -> st.SearchStrategy[Observed]:
    workload = st.integers(0, 5).map(settled)
    return st.builds(
        lambda credentials, workloads, support, route: observed(
            credentials=credentials, workloads=workloads, gateway=support, route=route
        ),
        st.sampled_from([{}, CREDENTIALS, {"nats-node": "only"}]),
        st.dictionaries(st.sampled_from(["node", "worker", "nats", "mongodb"]), workload),
        st.sampled_from([GatewaySupport(), GatewaySupport(routes=True), ENVOY_GATEWAY]),
        st.sampled_from([None, RouteView(accepted=True), RouteView(accepted=False, message="no")]),
    )


@given(_spec(), _observations())
def test_the_same_input_gives_the_same_plan(asked: ChatCluster, seen: Observed) -> None:
    assert plan(asked, seen, NOW) == plan(asked, seen, NOW)


@given(_spec(), _observations())
def test_objects_do_not_depend_on_the_time_nor_on_the_operators_version(asked: ChatCluster, seen: Observed) -> None:
    upgraded = msgspec.structs.replace(seen, operator="9.9.9")
    assert plan(asked, seen, NOW).objects == plan(asked, upgraded, LATER).objects


@given(_spec(), _observations())
def test_everything_is_named_once_labelled_and_goes_with_its_cluster(asked: ChatCluster, seen: Observed) -> None:
    desired = plan(asked, seen, NOW)
    assert len(desired.refs) == len(desired.objects)
    for thing in desired.objects:
        owners = items(thing, "metadata", "ownerReferences")
        assert [text(owner, "uid") for owner in owners] == [asked.metadata.uid]
        assert text(thing, "metadata", "namespace") == asked.metadata.namespace
        assert mapping(thing, "metadata", "labels")["app.kubernetes.io/managed-by"] == "chat-operator"
        assert not ref(thing).name.startswith("-")


@given(_spec(), _observations())
def test_a_status_that_was_written_is_planned_again_unchanged(asked: ChatCluster, seen: Observed) -> None:
    first = plan(asked, seen, NOW).status
    steps = plan(asked, msgspec.structs.replace(seen, status=first), SOON)
    again = steps.status
    if steps.mongodb is None and first.decisions == again.decisions:
        assert again == first


@given(_spec(), _observations())
def test_every_pod_keeps_to_the_restricted_standard(asked: ChatCluster, seen: Observed) -> None:
    for template in templates(plan(asked, seen, NOW)).values():
        spec = mapping(template, "spec")
        assert spec["automountServiceAccountToken"] is False
        assert at(spec, "securityContext", "runAsNonRoot") is True
        assert at(spec, "securityContext", "seccompProfile", "type") == "RuntimeDefault"
        for container in (*items(spec, "containers"), *items(spec, "initContainers")):
            assert at(container, "securityContext", "allowPrivilegeEscalation") is False
            assert at(container, "securityContext", "readOnlyRootFilesystem") is True
            assert at(container, "securityContext", "capabilities", "drop") == ["ALL"]


@given(_spec())
def test_no_password_is_in_anything_but_secrets(asked: ChatCluster) -> None:
    for thing in plan(asked, observed(), NOW).objects:
        if ref(thing).kind != "Secret":
            written = msgspec.json.encode(thing).decode()
            assert not any(password in written for password in CREDENTIALS.values())


# Which change rolls which pods.

CHANGES = [
    ({"limits": {"commandBurst": 99}}, {"Deployment/chat-node"}),
    ({"auth": {**AUTH, "allowedOrigins": ["https://a.example"]}}, {"Deployment/chat-node"}),
    ({"retention": {"hours": 5}}, {"Deployment/chat-worker"}),
    ({"limits": {"streamMaxMib": 99}}, {"Deployment/chat-worker"}),
    ({"tracing": {"otlpEndpoint": "http://c:4318"}}, {"Deployment/chat-node", "Deployment/chat-worker"}),
    ({"drain": {"windowSeconds": 60}}, {"Deployment/chat-node"}),
    ({"drain": {"reconnectsPerSecond": 100}}, {"Deployment/chat-node"}),
    ({"drain": {"deadlineSeconds": 10}}, set()),
    ({"nodes": {"targetConnections": 10}}, set()),
    ({"nats": {"managed": {"image": "nats:x"}}}, {"StatefulSet/chat-nats"}),
    ({"mongodb": {"managed": {"image": "mongo:x"}}}, {"StatefulSet/chat-mongodb"}),
    ({"image": {"reference": "chat:2"}}, {"Deployment/chat-node", "Deployment/chat-worker"}),
    ({"nodes": {"replicas": 5}}, set()),
    ({"workers": {"replicas": 3}}, set()),
    ({"exposure": {"type": "gateway", "gateway": {"name": "g"}}}, set()),
    ({"autoscaling": {"mode": "Off"}}, set()),
]


@pytest.mark.parametrize(("change", "rolled"), CHANGES)
def test_a_change_rolls_the_pods_that_it_concerns_and_no_other(change: Mapping[str, object], rolled: set[str]) -> None:
    before = templates(plan(cluster(), observed(gateway=ENVOY_GATEWAY), NOW))
    after = templates(plan(cluster(**change), observed(gateway=ENVOY_GATEWAY), NOW))
    assert {name for name in after if after[name] != before[name]} == rolled


def test_new_credentials_roll_who_reads_them() -> None:
    before = templates(plan(cluster(), observed(), NOW))
    after = templates(plan(cluster(), observed(credentials={**CREDENTIALS, "nats-node": "other"}), NOW))
    assert {name for name in after if after[name] != before[name]} == {"Deployment/chat-node"}
    assert at(after["Deployment/chat-node"], "metadata", "annotations", CHECKSUM)


# Order of things.


def test_nothing_but_a_secret_is_made_before_the_credentials_are_there() -> None:
    desired = plan(cluster(), observed(credentials={}), NOW)
    assert desired.objects == ()
    assert not desired.prune
    assert desired.draw is not None
    assert set(desired.draw.keys) == set(CREDENTIALS)


def test_only_missing_credentials_are_drawn() -> None:
    known = {key: value for key, value in CREDENTIALS.items() if key != "nats-node"}
    desired = plan(cluster(), observed(credentials=known), NOW)
    assert desired.draw is not None
    assert desired.draw.keys == ("nats-node",)


def test_where_both_datastores_are_somebody_elses_only_the_nodes_token_is_drawn() -> None:
    outside = cluster(nats={"external": {"secret": "n"}}, mongodb={"external": {"secret": "m"}})
    begun = plan(outside, observed(credentials={}, mongodb=None), NOW)
    assert begun.draw is not None
    assert begun.draw.keys == ("node-control",)
    desired = plan(outside, observed(credentials={"node-control": "token"}, mongodb=None), NOW)
    kinds = {thing.kind for thing in desired.refs}
    assert "StatefulSet" not in kinds
    assert [where.name for where in desired.refs if where.kind == "Secret"] == ["chat-node-access"]
    volumes = items(objects(desired)["Deployment/chat-node"], "spec", "template", "spec", "volumes")
    assert [text(source, "secret", "name") for source in items(volumes[1], "projected", "sources")] == [
        "n",
        "m",
        "chat-node-access",
    ]


def test_a_paused_cluster_is_only_looked_at() -> None:
    desired = plan(cluster({PAUSED: "all"}, nodes={"replicas": 9}), observed(), NOW)
    assert desired.objects == ()
    assert desired.scale is None
    assert not desired.prune
    paused = desired.status.condition("Paused")
    assert paused is not None
    assert paused.status == "True"


@pytest.mark.parametrize(
    ("paused", "asked", "running", "replicas"),
    [("", 5, 2, 5), ("scale-out", 5, 2, 2), ("scale-in", 5, 2, 5), ("scale-in", 2, 5, 5), ("scale-out", 2, 5, 2)],
)
def test_a_pause_holds_one_direction(paused: str, asked: int, running: int, replicas: int) -> None:
    annotations = {PAUSED: paused} if paused else {}
    workloads = {**observed().workloads, "node": settled(running)}
    off = cluster(annotations, nodes={"replicas": asked}, autoscaling={"mode": "Off"})
    view = nodes(**{f"n{number}": 10 for number in range(running)})
    desired = plan(off, observed(workloads=workloads, nodes=view), NOW)
    assert desired.scale is not None
    assert (desired.scale.batch is None, desired.scale.replicas) == (replicas >= running, max(replicas, running))


@pytest.mark.parametrize(("asked", "replicas"), [(1, 2), (2, 2), (7, 7), (10, 10), (99, 10)])
def test_replicas_stay_within_their_bounds(asked: int, replicas: int) -> None:
    desired = plan(cluster(nodes={"replicas": asked}, autoscaling={"mode": "Off"}), observed(), NOW)
    assert desired.scale is not None
    assert desired.scale.replicas == replicas
    limited = desired.status.condition("ScalingLimited")
    assert limited is not None
    assert limited.status == ("False" if asked == replicas else "True")


def test_the_workload_manager_says_nothing_of_the_nodes_replicas() -> None:
    assert at(objects(plan(cluster(), observed(), NOW))["Deployment/chat-node"], "spec", "replicas") is None


def test_the_nodes_may_take_as_long_to_end_as_their_drain() -> None:
    found = objects(plan(cluster(drain={"windowSeconds": 100, "settleSeconds": 10}), observed(), NOW))
    grace = at(found["Deployment/chat-node"], "spec", "template", "spec", "terminationGracePeriodSeconds")
    assert isinstance(grace, int)
    assert grace >= 110 + 20


# The way in.


def test_without_the_gateway_api_the_condition_says_what_to_install() -> None:
    asked = cluster(exposure={"type": "gateway", "gateway": {"name": "g"}})
    desired = plan(asked, observed(gateway=GatewaySupport()), NOW)
    accepted = desired.status.condition("ExposureAccepted")
    assert accepted is not None
    assert (accepted.status, accepted.reason) == ("False", "GatewayApiMissing")
    assert "HTTPRoute" not in {thing.kind for thing in desired.refs}


def test_a_gateway_api_without_session_persistence_gets_none_and_it_is_said() -> None:
    asked = cluster(exposure={"type": "gateway", "gateway": {"name": "g"}})
    desired = plan(asked, observed(gateway=GatewaySupport(routes=True), route=RouteView(accepted=True)), NOW)
    assert "sessionPersistence" not in msgspec.json.encode(objects(desired)["HTTPRoute/chat"]).decode()
    accepted = desired.status.condition("ExposureAccepted")
    assert accepted is not None
    assert "not sticky" in accepted.message


@pytest.mark.parametrize(
    ("route", "status"),
    [(None, "Unknown"), (RouteView(accepted=True), "True"), (RouteView(accepted=False, message="no"), "False")],
)
def test_exposure_is_accepted_when_somebody_accepts_it(route: RouteView | None, status: str) -> None:
    asked = cluster(exposure={"type": "gateway", "gateway": {"name": "g"}})
    accepted = plan(asked, observed(gateway=ENVOY_GATEWAY, route=route), NOW).status.condition("ExposureAccepted")
    assert accepted is not None
    assert accepted.status == status


def test_golden_files_are_what_the_api_server_would_keep() -> None:
    desired = plan(example("full"), observed(gateway=ENVOY_GATEWAY), NOW)
    loaded = list(yaml.safe_load_all((GOLDEN / "full.yaml").read_text("utf-8")))
    assert all(covers(have, want) for have, want in zip(loaded, desired.objects, strict=True))
