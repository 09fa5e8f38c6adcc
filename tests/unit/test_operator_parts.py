"""The smaller decisions: comparing objects, quantities, MongoDB's steps, what the status says, the CRD."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from chatoperator import __version__, crd
from chatoperator.events import news
from chatoperator.objects import Json, Ref, covers, differences, mapping, needs_apply, ref, still_wanted
from chatoperator.observe import gateway_support, pod, workload, zones_of
from chatoperator.plan.decide import plan
from chatoperator.plan.mongodb import Initiate, MongoStep, MongoView, PutUsers, Reconfigure, next_step
from chatoperator.plan.naming import FORCE_RECONFIG
from chatoperator.plan.observed import ClusterStatus, Workload
from chatoperator.plan.scale import NodesView
from chatoperator.quantities import canonical
from chatoperator.reference import pages
from chatoperator.spec import InvalidSpec, parse
from tests.unit.operator_cases import (
    EXAMPLES,
    LATER,
    NOW,
    SOON,
    cluster,
    healthy_mongodb,
    members,
    nodes,
    observed,
    resource,
    settled,
)

ROOT = Path(__file__).parents[2]

# Comparing with what is there.

JSON: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_everything_covers_itself(thing: Json) -> None:
    assert covers(thing, thing)


@given(st.dictionaries(st.text("ab", min_size=1, max_size=1), JSON), JSON)
def test_what_others_add_does_not_count(wanted: Mapping[str, Json], extra: Json) -> None:
    assert covers({**wanted, "others": extra}, wanted)


COVERED: list[tuple[Json, Json, bool]] = [
    ({"a": 1}, {"a": 1}, True),
    ({"a": 1}, {"a": 2}, False),
    ({}, {"a": 1}, False),
    ({}, {"a": {}}, True),
    ({}, {"a": []}, True),
    ({"a": [1, 2]}, {"a": [1]}, False),
    ({"a": [{"name": "x", "v": 1}, {"name": "y"}]}, {"a": [{"name": "x"}]}, True),
    ({"a": [{"name": "y"}]}, {"a": [{"name": "x"}]}, False),
    ({"a": [{"v": 1}]}, {"a": [{"v": 1}, {"v": 2}]}, False),
    ({"a": "text"}, {"a": ["t"]}, False),
    (None, {"a": 1}, False),
    ({"a": True}, {"a": {"b": 1}}, False),
]


@pytest.mark.parametrize(("live", "wanted", "expected"), COVERED)
def test_covers(live: Json, wanted: Json, expected: bool) -> None:
    assert covers(live, wanted) is expected


@given(JSON, JSON)
def test_there_are_differences_where_something_is_not_covered(live: Json, wanted: Json) -> None:
    assert (list(differences(live, wanted)) == []) is covers(live, wanted)


def test_differences_are_named_by_their_places() -> None:
    ports: Json = [{"name": "http", "port": 80}, {"name": "admin", "port": 9}]
    live: Json = {"spec": {"ports": ports, "type": "ClusterIP"}, "metadata": {"annotations": {"a.b/c": "1"}}}
    wanted: Json = {
        "metadata": {"annotations": {"a.b/c": "2"}},
        "spec": {"ports": [{"name": "http", "port": 81}], "type": "ClusterIP", "selector": {"x": "y"}},
    }
    found = ["metadata.annotations[a.b/c]", "spec.ports[http].port", "spec.selector"]
    assert list(differences(live, wanted)) == found


OWNED: list[tuple[Json, Json, bool]] = [
    ({"f:spec": {"f:a": {}}}, {"spec": {"a": 1}}, True),
    ({"f:spec": {"f:a": {}, "f:b": {}}}, {"spec": {"a": 1}}, False),
    ({"f:l": {'k:{"name":"x"}': {".": {}, "f:name": {}}}}, {"l": [{"name": "x"}]}, True),
    ({"f:l": {'k:{"name":"x"}': {".": {}, "f:v": {}}}}, {"l": [{"name": "x"}]}, False),
    ({"f:l": {'k:{"name":"x"}': {}}}, {"l": []}, False),
    ({"f:l": {'v:"x"': {}}}, {"l": ["x"]}, True),
    ({"f:l": {'v:"y"': {}}}, {"l": ["x"]}, False),
    ({"f:empty": {}}, {"empty": {}}, True),
]


@pytest.mark.parametrize(("fields", "wanted", "expected"), OWNED)
def test_a_field_that_is_no_longer_wanted_is_noticed(fields: Json, wanted: Json, expected: bool) -> None:
    assert still_wanted(fields, wanted) is expected


def test_an_object_is_applied_until_our_manager_has_applied_it() -> None:
    wanted: Mapping[str, Json] = {"spec": {"a": 1}}
    fields: Json = {"f:spec": {"f:a": {}}}
    managed: Json = [{"manager": "me", "operation": "Apply", "fieldsV1": fields}]
    assert needs_apply(None, wanted, "me")
    assert needs_apply({"spec": {"a": 1}}, wanted, "me")
    assert not needs_apply({"spec": {"a": 1}, "metadata": {"managedFields": managed}}, wanted, "me")
    assert needs_apply({"spec": {"a": 2}, "metadata": {"managedFields": managed}}, wanted, "me")


QUANTITIES = [
    ("1", "1"),
    ("1000m", "1"),
    ("0.5", "500m"),
    ("1500m", "1500m"),
    ("1024Mi", "1Gi"),
    ("1536Mi", "1536Mi"),
    ("0.5Gi", "512Mi"),
    ("1000", "1k"),
    ("1500", "1500"),
    ("100M", "100M"),
    ("1e3", "1k"),
    ("0", "0"),
    (2, "2"),
    ("2.5G", "2500M"),
    ("nonsense", "nonsense"),
]


@pytest.mark.parametrize(("given", "stored"), QUANTITIES)
def test_quantities_are_written_as_they_are_stored(given: int | str, stored: str) -> None:
    assert canonical(given) == stored
    assert canonical(stored) == stored


# MongoDB's steps.

STEPS: list[tuple[str, int, MongoView, MongoStep | None]] = [
    ("nobody answers", 3, MongoView(), None),
    ("not all answer yet", 3, MongoView(answering=(members(1)[0].host,)), None),
    ("all answer", 3, MongoView(answering=tuple(m.host for m in members(3))), Initiate(members(3))),
    ("one is enough for one", 1, MongoView(answering=(members(1)[0].host,)), Initiate(members(1))),
    ("all is well", 3, healthy_mongodb(), None),
    ("no users", 3, msgspec.structs.replace(healthy_mongodb(), users=False), PutUsers()),
    ("no primary", 3, msgspec.structs.replace(healthy_mongodb(), primary=""), None),
    (
        "a member is added when it answers",
        3,
        msgspec.structs.replace(healthy_mongodb(1), answering=tuple(m.host for m in members(3))),
        Reconfigure(members(2)),
    ),
    ("a member that does not answer waits", 3, healthy_mongodb(1), None),
    ("the last ordinal goes first", 1, healthy_mongodb(3), Reconfigure(members(2))),
]


@pytest.mark.parametrize(("what", "replicas", "view", "step"), STEPS, ids=[step[0] for step in STEPS])
def test_mongodb_step(what: str, replicas: int, view: MongoView, step: MongoStep | None) -> None:
    asked = cluster(mongodb={"managed": {"replicas": replicas}})
    assert asked.spec.mongodb.managed is not None
    assert next_step(asked, asked.spec.mongodb.managed, view) == step


def test_a_forced_reconfiguration_needs_the_annotation() -> None:
    hosts = [member.host for member in members(3)]
    lost = MongoView(answering=(hosts[0],), initiated=True, members=members(3))
    for annotations, step in (({}, None), ({FORCE_RECONFIG: "true"}, Reconfigure(members(1), force=True))):
        asked = cluster(annotations)
        assert asked.spec.mongodb.managed is not None
        assert next_step(asked, asked.spec.mongodb.managed, lost) == step


def test_a_member_that_votes_keeps_its_pod() -> None:
    asked = cluster(mongodb={"managed": {"replicas": 1}})
    desired = plan(asked, observed(mongodb=healthy_mongodb(3)), NOW)
    where = Ref("apps/v1", "StatefulSet", "chat-mongodb")
    found = next(thing for thing in desired.objects if ref(thing) == where)
    assert mapping(found, "spec")["replicas"] == 3


# What the status says.


def status(**changes: object) -> ClusterStatus:
    return plan(cluster(), observed(**changes), NOW).status


def holds(found: ClusterStatus, kind: str) -> str:
    condition = found.condition(kind)
    assert condition is not None
    return condition.status


ALL = {
    "Ready",
    "Available",
    "Progressing",
    "Draining",
    "ScalingActive",
    "ScalingLimited",
    "MetricsFresh",
    "ExposureAccepted",
    "DatastoresReady",
}


def test_every_condition_is_there_from_the_first_visit_with_its_generation() -> None:
    found = plan(cluster(), observed(credentials={}, workloads={}, mongodb=None, nodes=NodesView()), NOW).status
    assert {condition.type for condition in found.conditions} >= ALL
    assert {condition.observed_generation for condition in found.conditions} == {3}
    assert holds(found, "Ready") == "False"
    assert holds(found, "Progressing") == "True"


def test_a_cluster_as_asked_is_ready() -> None:
    found = status()
    assert holds(found, "Ready") == holds(found, "Available") == holds(found, "DatastoresReady") == "True"
    assert holds(found, "Progressing") == "False"
    assert found.connections == 30
    assert found.nodes.summary == "2/2"


SICK: list[tuple[Mapping[str, object], str]] = [
    ({"workloads": {**observed().workloads, "nats": Workload(3, 3, 3, 2)}}, "DatastoresReady"),
    ({"mongodb": msgspec.structs.replace(healthy_mongodb(), primary="")}, "DatastoresReady"),
    ({"mongodb": msgspec.structs.replace(healthy_mongodb(), healthy=healthy_mongodb().healthy[:2])}, "DatastoresReady"),
    ({"mongodb": None}, "DatastoresReady"),
    ({"workloads": {**observed().workloads, "node": Workload(2, 2, 2, 0)}}, "Available"),
    ({"workloads": {**observed().workloads, "node": Workload(2, 2, 2, 1)}}, "Ready"),
    ({"workloads": {**observed().workloads, "worker": Workload(2, 3, 1, 2)}}, "Ready"),
    ({"workloads": {**observed().workloads, "node": Workload(2, 2, 2, 2, seen=False)}}, "Ready"),
    ({"nodes": nodes(a=1)}, "MetricsFresh"),
]


@pytest.mark.parametrize(("changes", "kind"), SICK)
def test_what_is_not_well_is_said(changes: Mapping[str, object], kind: str) -> None:
    found = status(**changes)
    assert holds(found, kind) == "False"
    if kind != "MetricsFresh":
        assert holds(found, "Ready") == "False"


def test_one_member_is_allowed_and_said() -> None:
    asked = cluster(nats={"managed": {"replicas": 1}}, mongodb={"managed": {"replicas": 1}})
    workloads = {**observed().workloads, "nats": settled(1), "mongodb": settled(1)}
    found = plan(asked, observed(workloads=workloads, mongodb=healthy_mongodb(1)), NOW).status
    condition = found.condition("DatastoresReady")
    assert condition is not None
    assert (condition.status, condition.reason) == ("True", "SingleMember")


def test_a_condition_keeps_its_time_while_it_holds() -> None:
    first = status()
    assert plan(cluster(), observed(status=first), SOON).status == first
    sick = plan(cluster(), observed(status=first, mongodb=None), LATER).status
    ready = sick.condition("Ready")
    assert ready is not None
    assert ready.last_transition_time == "2026-11-24T13:00:00Z"


def test_decisions_are_kept_newest_first_and_told_once() -> None:
    first = status()
    more = cluster(nodes={"replicas": 5}, autoscaling={"mode": "Off"})
    second = plan(more, observed(status=first), LATER).status
    assert [decision.what for decision in second.decisions] == ["nodes 2 → 5"]
    told = [each.message for each in news(first, second) if each.reason == "Decided"]
    assert told == [f"nodes 2 → 5: {second.nodes.reason}"]
    workloads = {**observed().workloads, "node": settled(5)}
    third = plan(more, observed(status=second, workloads=workloads), LATER).status
    assert [each for each in news(second, third) if each.reason == "Decided"] == []


def test_what_is_decided_again_because_it_did_not_come_about_is_told_every_ten_minutes() -> None:
    lost = observed(mongodb=MongoView(answering=tuple(member.host for member in members(3))))
    first = plan(cluster(), lost, NOW).status
    again = plan(cluster(), replace(lost, status=first), NOW + timedelta(minutes=9)).status
    assert again.decisions == first.decisions
    later = plan(cluster(), replace(lost, status=again), NOW + timedelta(minutes=11)).status
    assert [each.what for each in later.decisions] == ["initiate MongoDB with 3 members"] * 2


def test_conditions_that_turn_are_told() -> None:
    told = news(status(), status(mongodb=None))
    assert {(each.reason, each.warning) for each in told} == {
        ("ReadyFalse", True),
        ("AvailableFalse", True),
        ("DatastoresReadyFalse", True),
    }


# Reading.


def test_a_workload_whose_controller_lags_is_not_settled() -> None:
    thing: Mapping[str, Json] = {
        "metadata": {"generation": 2},
        "spec": {"replicas": 1},
        "status": {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1},
    }
    assert not workload(thing).settled
    assert workload({**thing, "metadata": {"generation": 1}}).settled


def test_what_the_gateway_api_has_is_read_from_its_schema() -> None:
    rule: Json = {"sessionPersistence": {"properties": {"type": {}, "sessionName": {}}}}
    spec: Json = {"properties": {"rules": {"items": {"properties": rule}}}}
    document: Mapping[str, Json] = {
        "components": {"schemas": {"io.k8s.networking.gateway.v1.HTTPRoute": {"properties": {"spec": spec}}}}
    }
    traffic: Mapping[str, Json] = {"resources": [{"kind": "BackendTrafficPolicy"}]}
    found = gateway_support(document, traffic)
    assert found.routes
    assert found.envoy_traffic_policy
    assert found.session_persistence == {"type", "sessionName"}
    assert gateway_support(None, None).routes is False


@pytest.mark.parametrize(
    ("labels", "zone"), [({}, "b"), ({"topology.kubernetes.io/zone": "a"}, "a")], ids=["an old Kubernetes", "from 1.35"]
)
def test_a_pods_zone_is_its_own_word_or_that_of_its_endpoint(labels: Mapping[str, Json], zone: str) -> None:
    slices: Sequence[Mapping[str, Json]] = [
        {"endpoints": [{"zone": "b", "targetRef": {"uid": "u1"}}, {"targetRef": {"uid": "u2"}}]},
        {"endpoints": None},
    ]
    zones = zones_of(slices)
    assert zones == {"u1": "b"}
    assert pod({"metadata": {"uid": "u1", "labels": labels}}, zones).zone == zone
    assert pod({"metadata": {"uid": "u2"}}, zones).zone == ""


# The definition.


@pytest.mark.parametrize("path", sorted(pages()))
def test_generated_files_are_as_they_are_generated(path: str) -> None:
    assert (ROOT / path).read_text("utf-8") == pages()[path], "run make docs"


def _fields(schema: Mapping[str, Json], path: str = "") -> set[str]:
    found = set()
    for name, inner in mapping(schema, "properties").items():
        found |= _fields(mapping(inner), f"{path}.{name}") or {f"{path}.{name}"}
    return found


def _present(thing: object, path: str) -> bool:
    for step in path.strip(".").split("."):
        if not isinstance(thing, dict) or step not in thing:
            return False
        thing = thing[step]
    return True


def test_the_full_example_shows_every_field() -> None:
    text = (EXAMPLES / "full.yaml").read_text("utf-8")
    spec = yaml.safe_load(text)["spec"]
    missing = [path for path in sorted(_fields(crd.spec_schema())) if not _present(spec, path)]
    assert [path for path in missing if ".external." not in path] == []
    for path in missing:
        assert f"{path.rpartition('.')[2]}:" in text


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_example_can_be_read(path: Path) -> None:
    loaded = yaml.safe_load(path.read_text("utf-8"))
    loaded["metadata"] |= {"namespace": "default", "uid": "u"}
    loaded["metadata"]["annotations"] = {}
    assert parse(loaded).metadata.name


def test_defaults_of_the_schema_and_of_the_structs_are_the_same() -> None:
    asked = resource()
    spec = asked["spec"]
    assert isinstance(spec, dict)
    filled = {key: mapping(value).get("default") for key, value in mapping(crd.spec_schema(), "properties").items()}
    whole = {**asked, "spec": {**{key: value for key, value in filled.items() if value is not None}, **spec}}
    assert parse(whole) == parse(asked)


def test_a_spec_that_cannot_be_read_says_where() -> None:
    with pytest.raises(InvalidSpec, match=r"\$\.spec\.nodes\.min"):
        parse(resource(nodes={"min": 0}))


def test_the_operators_version_is_the_distributions() -> None:
    assert f'version = "{__version__}"' in (ROOT / "pyproject.toml").read_text("utf-8")
    chart = yaml.safe_load((ROOT / "chart" / "Chart.yaml").read_text("utf-8"))
    assert chart["appVersion"] == __version__
