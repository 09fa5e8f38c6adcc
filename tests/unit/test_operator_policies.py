"""Who reaches whom, by the NetworkPolicies as the API documents them."""

from collections.abc import Mapping, Sequence

import pytest

from chatoperator.objects import Json, Object, items, mapping, text
from chatoperator.plan.decide import plan
from chatoperator.spec import ChatCluster
from tests.unit.operator_cases import NOW, cluster, observed
from tests.unit.operator_reach import HOME, KEPT_OUT, LET_IN, PLACES, Place

ASKED = cluster()
ELSEWHERE = cluster(
    auth={"issuer": "https://i.test", "jwksUrl": "https://identity.test:8443/keys"},
    nats={"external": {"secret": "s"}},
    mongodb={"external": {"secret": "s"}},
    tracing={"otlpEndpoint": "http://collector.test:4319"},
)


def policies_of(asked: ChatCluster) -> Sequence[Object]:
    return [thing for thing in plan(asked, observed(), NOW).objects if text(thing, "kind") == "NetworkPolicy"]


POLICIES = policies_of(ASKED)


def chosen(labels: Mapping[str, str], by: Json) -> bool:
    """An empty selector chooses everything."""
    assert not items(by, "matchExpressions")
    return all(labels.get(key) == value for key, value in mapping(by, "matchLabels").items())


def is_peer(place: Place, peer: Json) -> bool:
    namespace, labels = place
    if "ipBlock" in mapping(peer):
        raise AssertionError("no policy here names addresses")
    wanted = mapping(peer).get("namespaceSelector")
    if wanted is None:
        return namespace == HOME and chosen(labels, mapping(peer, "podSelector"))
    assert wanted == {}, "namespaces are not chosen by labels here"
    return bool(namespace) and chosen(labels, mapping(peer, "podSelector"))


def allowed(
    side: str, place: Place, other: Place, port: int, protocol: str = "TCP", policies: Sequence[Object] = POLICIES
) -> bool:
    """Whether ``place`` lets ``other`` in (``ingress``) or itself out to it (``egress``)."""
    namespace, labels = place
    kind = side.capitalize()
    specs = [mapping(policy, "spec") for policy in policies]
    about = [
        spec
        for spec in specs
        if namespace == HOME and kind in items(spec, "policyTypes") and chosen(labels, mapping(spec, "podSelector"))
    ]
    if not about:
        return True
    peers = "from" if side == "ingress" else "to"
    for spec in about:
        for rule in items(spec, side):
            ports = [(mapping(each).get("port"), text(each, "protocol")) for each in items(rule, "ports")]
            open_port = not ports or (port, protocol) in ports
            if open_port and (not items(rule, peers) or any(is_peer(other, peer) for peer in items(rule, peers))):
                return True
    return False


def reaches(source: str, target: str, port: int, protocol: str = "TCP") -> bool:
    one, two = PLACES[source], PLACES[target]
    return allowed("egress", one, two, port, protocol) and allowed("ingress", two, one, port, protocol)


@pytest.mark.parametrize(("source", "target", "port"), LET_IN)
def test_who_has_to_is_let_in(source: str, target: str, port: int) -> None:
    assert reaches(source, target, port)


@pytest.mark.parametrize("component", ["node", "worker", "nats", "mongodb"])
def test_everybody_may_ask_for_names(component: str) -> None:
    assert reaches(component, "the world", 53, "UDP")
    assert reaches(component, "the world", 53)


@pytest.mark.parametrize(("source", "target", "port"), KEPT_OUT)
def test_who_need_not_is_kept_out(source: str, target: str, port: int) -> None:
    assert not reaches(source, target, port)


@pytest.mark.parametrize(
    ("source", "port"),
    [
        *((role, port) for role in ("node", "worker") for port in (4222, 27017, 443, 4319)),
        ("node", 8443),
    ],
)
def test_what_the_spec_names_outside_is_reached(source: str, port: int) -> None:
    policies = policies_of(ELSEWHERE)
    assert allowed("egress", PLACES[source], PLACES["the world"], port, policies=policies)
    assert allowed("egress", PLACES[source], ("somebody", {"app": "theirs"}), port, policies=policies)


@pytest.mark.parametrize(("source", "port"), [("worker", 8443), ("node", 6222), ("node", 22)])
def test_nothing_else_outside_is_reached(source: str, port: int) -> None:
    assert not allowed("egress", PLACES[source], PLACES["the world"], port, policies=policies_of(ELSEWHERE))
