"""TLS between the cluster's own parts: what is issued when, and what nodes, workers and servers are given for it."""

import base64
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from msgspec.structs import replace

from chatoperator import certificates
from chatoperator.objects import Object, at, items, mapping, text
from chatoperator.plan import tls
from chatoperator.plan.decide import plan
from chatoperator.plan.naming import PAUSED
from chatoperator.plan.nats import configuration
from tests.unit.operator_cases import NOW, cluster, held, observed
from tests.unit.operator_cases import certificates as all_held

OURS = {"certificates": "Operator"}
MANAGERS = {"certificates": "CertManager", "issuer": {"name": "internal", "kind": "ClusterIssuer"}}
SECRETS = {"certificates": "Secret", "natsSecret": "my-nats", "mongodbSecret": "my-mongodb"}
OFF = {"certificates": "Off"}
SOMEBODY = {"nats": {"external": {"secret": "n", "caKey": "root.pem"}}, "mongodb": {"external": {"secret": "m"}}}


def by_name(things: tuple[Object, ...]) -> Mapping[str, Object]:
    return {f"{text(thing, 'kind')}/{text(thing, 'metadata', 'name')}": thing for thing in things}


# When something is issued.


@pytest.mark.parametrize(
    ("have", "issued"),
    [
        ({}, {"authority": True, "nats": True, "mongodb": True}),
        (all_held(), {}),
        (all_held(nats=held("nats", days=29)), {"nats": True}),
        (all_held(nats=held("nats", days=31)), {}),
        (all_held(nats=held("nats", days=-1)), {"nats": True}),
        (all_held(nats=held("elsewhere")), {"nats": True}),
        (
            all_held(mongodb=tls.Held(held("mongodb").certificate, "authority-1", frozenset({"tls.crt"}))),
            {"mongodb": True},
        ),
        (all_held(mongodb=tls.Held()), {"mongodb": True}),
        (all_held(authority=tls.Held()), {"authority": True}),
        (all_held(authority=tls.Held(), nats=held("nats", days=20)), {"authority": True}),
        (all_held(authority=held("authority", days=3649), nats=held("nats", days=20)), {}),
        (all_held(authority=held("authority", days=3649), nats=held("nats", days=1)), {"nats": True}),
        (all_held(authority=held("authority", days=3647), nats=held("nats", days=20)), {"nats": True}),
        (all_held(authority=held("authority", days=364)), {"authority": True}),
        (all_held(authority=held("authority", days=366)), {}),
        (all_held(authority=held("authority", days=3000, trust="2+1")), {"nats": False, "mongodb": False}),
        (
            all_held(authority=held("authority", days=3000, trust="2+1"), nats=held("nats", days=5)),
            {"nats": True, "mongodb": False},
        ),
    ],
)
def test_what_is_issued(have: Mapping[str, tls.Held], issued: Mapping[str, bool]) -> None:
    found = tls.issues(cluster(tls=OURS), have, NOW)
    assert {each.component: each.anew for each in found} == issued


@pytest.mark.parametrize("asked", [MANAGERS, SECRETS, OFF])
def test_nothing_is_issued_where_somebody_else_does(asked: Mapping[str, object]) -> None:
    assert tls.issues(cluster(tls=asked), {}, NOW) == ()


def test_nothing_is_issued_for_datastores_of_somebody_else() -> None:
    assert tls.issues(cluster(tls=OURS, **SOMEBODY), {}, NOW) == ()


@pytest.mark.parametrize("every", [2, 8])
def test_certificates_never_end_and_an_authority_is_believed_before_it_signs(every: int) -> None:
    """Visits each few days over the life of an authority: members show what was believed at the visit before."""
    asked = cluster(tls=OURS)
    kept: dict[str, Mapping[str, str]] = {}
    start = datetime(2026, 11, 24, tzinfo=UTC)
    for day in range(0, 12 * 365, every):
        now = start + timedelta(days=day)
        before = {component: data[tls.TRUST] for component, data in kept.items()}
        while orders := tls.issues(asked, _read(kept), now):
            _make(orders, kept, now)
        for component in ("nats", "mongodb"):
            shown = certificates.read(kept[component][tls.CERTIFICATE])[0]
            assert shown.since <= now.timestamp() < shown.until
            assert _believed(kept[component][tls.CERTIFICATE], before.get(component, kept[component][tls.TRUST]))
    assert certificates.read(kept[tls.AUTHORITY][tls.CERTIFICATE])[0].since > start.timestamp() + 8 * 365 * 86_400


def _make(orders: Sequence[tls.Issue], kept: dict[str, Mapping[str, str]], now: datetime) -> None:
    for order in orders:
        if order.component == tls.AUTHORITY:
            believed = kept.get(tls.AUTHORITY, {}).get(tls.TRUST, "")
            kept[tls.AUTHORITY] = certificates.successor(believed, "chat", now)
        else:
            held_by = kept.get(order.component, {})
            kept[order.component] = certificates.member(order, held_by, kept[tls.AUTHORITY], now)


def _read(kept: Mapping[str, Mapping[str, str]]) -> Mapping[str, tls.Held]:
    return {
        component: tls.Held(certificates.read(data[tls.CERTIFICATE])[0], data[tls.TRUST], frozenset(data))
        for component, data in kept.items()
    }


def _believed(shown: str, trust: str) -> bool:
    member = x509.load_pem_x509_certificate(shown.encode())
    for authority in x509.load_pem_x509_certificates(trust.encode()):
        try:
            member.verify_directly_issued_by(authority)
        except (InvalidSignature, ValueError):
            continue
        return True
    return False


def test_an_authority_whose_secret_was_deleted_is_believed_until_its_last_certificate_ends() -> None:
    first = certificates.successor("", "chat", NOW)
    order = tls.Issue({}, "nats", ("*.chat-nats.school.svc",))
    member = certificates.member(order, {}, first, NOW)
    second = certificates.successor(member[tls.TRUST], "chat", NOW)
    kept = certificates.member(tls.Issue({}, "nats", anew=False), member, second, NOW)
    assert kept[tls.CERTIFICATE] == member[tls.CERTIFICATE]
    assert _believed(kept[tls.CERTIFICATE], kept[tls.TRUST])
    assert len(certificates.read(kept[tls.TRUST])) == 2
    third = certificates.successor(second[tls.TRUST], "chat", NOW)
    assert len(certificates.read(third[tls.TRUST])) == 2


def test_an_authority_that_somebody_has_spoilt_signs_nothing() -> None:
    good, other = certificates.make_authority("a", NOW), certificates.make_authority("b", NOW)
    spoilt = [
        certificates.Keypair(good.certificate, other.key),
        certificates.Keypair(good.certificate, "no key"),
        certificates.Keypair("no certificate", good.key),
    ]
    for authority in spoilt:
        with pytest.raises(certificates.AuthorityUnusable, match="delete"):
            certificates.issue(authority, "nats", ["x.svc"], NOW)


@pytest.mark.parametrize("pem", ["", "no certificate", "a" * 48])
def test_what_is_no_certificate_is_none(pem: str) -> None:
    assert certificates.read(pem) == ()


# What follows for the objects.


def test_pods_wait_until_it_is_known_whom_they_believe() -> None:
    for asked in (OURS, MANAGERS, SECRETS):
        desired = plan(cluster(tls=asked), observed(certificates={}), NOW)
        assert {text(thing, "kind") for thing in desired.objects} <= {"Certificate"}
        assert not desired.prune
        condition = desired.status.condition("DatastoresReady")
        assert condition is not None
        assert condition.status == "False"
        assert "ca.crt" in condition.message


def test_cert_manager_is_asked_for_names_usages_and_the_combined_file() -> None:
    found = by_name(plan(cluster(tls=MANAGERS), observed(), NOW).objects)
    spec = mapping(found["Certificate/chat-mongodb-tls"], "spec")
    assert items(spec, "dnsNames") == ["*.chat-mongodb.school.svc"]
    assert {"server auth", "client auth"} <= set(items(spec, "usages"))
    assert mapping(spec, "issuerRef") == {"name": "internal", "kind": "ClusterIssuer", "group": "cert-manager.io"}
    assert items(spec, "additionalOutputFormats") == [{"type": "CombinedPEM"}]
    assert text(spec, "secretName") == "chat-mongodb-tls"


def test_secrets_of_somebody_else_are_mounted_and_never_written() -> None:
    desired = plan(cluster(tls=SECRETS), observed(), NOW)
    found = by_name(desired.objects)
    pod = mapping(found["StatefulSet/chat-nats"], "spec", "template", "spec")
    assert "my-nats" in {text(volume, "secret", "secretName") for volume in items(pod, "volumes")}
    assert not {"Secret/my-nats", "Secret/my-mongodb", "Certificate/chat-nats-tls"} & found.keys()
    assert desired.issues == ()


def test_without_tls_nothing_speaks_of_it() -> None:
    desired = plan(cluster(tls=OFF), observed(certificates={}), NOW)
    written = str(desired.objects)
    assert "tls" not in written.lower()
    assert "ca.crt" not in written


def test_what_is_acted_upon_is_told_and_a_pause_acts_upon_nothing() -> None:
    assert plan(cluster(tls=OFF), observed(certificates={}), NOW).status.certificates == "Off"
    assert plan(cluster(tls=OURS), observed(certificates={}), NOW).status.certificates == "Operator"
    assert plan(cluster({PAUSED: "scale-in"}, tls=OURS), observed(), NOW).status.certificates == "Operator"
    assert plan(cluster({PAUSED: "all"}, tls=OURS), observed(), NOW).status.certificates == ""


@pytest.mark.parametrize("role", ["node", "worker"])
def test_nodes_and_workers_are_told_whom_to_believe(role: str) -> None:
    found = by_name(plan(cluster(), observed(), NOW).objects)
    access = {
        key: base64.b64decode(str(value)).decode()
        for key, value in mapping(found[f"Secret/chat-{role}-access"], "data").items()
    }
    assert all(url.startswith("tls://") for url in access["nats-url"].split(","))
    options = parse_qs(urlsplit(access["mongodb-uri"]).query)
    assert options["tls"] == ["true"]
    files = {text(source, "secret", "items", "path") for source in _sources(found, role)}
    paths = {text(each, "path") for source in _sources(found, role) for each in items(source, "secret", "items")}
    assert {options["tlsCAFile"][0].rpartition("/")[2], "nats-ca.crt"} <= paths, files
    settings = mapping(found[f"ConfigMap/chat-{role}"], "data")
    assert settings["CHAT_NATS_CA_FILE"] == "/etc/chat/access/nats-ca.crt"


def test_no_private_key_reaches_nodes_or_workers() -> None:
    found = by_name(plan(cluster(), observed(), NOW).objects)
    keys = {
        text(each, "key")
        for role in ("node", "worker")
        for source in _sources(found, role)
        for each in items(source, "secret", "items")
    }
    assert not keys & {"tls.key", "tls-combined.pem"}


def test_an_authority_of_external_servers_is_mounted() -> None:
    found = by_name(plan(cluster(**SOMEBODY), observed(mongodb=None, certificates={}), NOW).objects)
    items_ = [
        each
        for source in _sources(found, "node")
        if text(source, "secret", "name") == "n"
        for each in items(source, "secret", "items")
    ]
    assert {"key": "root.pem", "path": "nats-ca.crt"} in items_
    assert mapping(found["ConfigMap/chat-node"], "data")["CHAT_NATS_CA_FILE"] == "/etc/chat/access/nats-ca.crt"


def _sources(found: Mapping[str, Object], role: str) -> list[object]:
    pod = mapping(found[f"Deployment/chat-{role}"], "spec", "template", "spec")
    return [source for volume in items(pod, "volumes") for source in items(volume, "projected", "sources")]


def test_a_renewed_certificate_rolls_no_pod_and_a_new_authority_those_that_read_it_at_their_start() -> None:
    def templates(have: Mapping[str, tls.Held]) -> Mapping[str, object]:
        found = by_name(plan(cluster(), observed(certificates=have), NOW).objects)
        return {name: at(thing, "spec", "template") for name, thing in found.items() if at(thing, "spec", "template")}

    before = templates(all_held())
    assert templates(all_held(nats=held("nats", days=89))) == before
    after = templates(all_held(nats=held("nats", trust="2+1")))
    assert {name for name in before if before[name] != after[name]} == {
        "Deployment/chat-node",
        "Deployment/chat-worker",
    }


def test_members_that_show_an_older_certificate_are_told_to_read_theirs() -> None:
    behind = {"nats": ("chat-nats-1.chat-nats.school.svc:4222",)}
    desired = plan(cluster(), observed(outdated=behind), NOW)
    assert desired.reload == behind
    assert any("reads its certificate again" in each.what for each in desired.status.decisions)
    assert plan(cluster({"chat.skillhub.io/paused": "all"}), observed(outdated=behind), NOW).reload == {}


def test_a_certificate_that_nobody_renews_is_said_before_it_ends() -> None:
    def reason(days: float) -> str:
        status = plan(cluster(tls=SECRETS), observed(certificates=all_held(nats=held("nats", days=days))), NOW).status
        condition = status.condition("DatastoresReady")
        return f"{condition.status} {condition.reason}" if condition else ""

    assert reason(20) == "True Ready"
    assert reason(13) == "True CertificateEnds"


@pytest.mark.parametrize(
    ("names", "status"),
    [
        (["*.chat-nats.school.svc"], "True"),
        ([f"chat-nats-{number}.chat-nats.school.svc" for number in range(3)], "True"),
        ([f"chat-nats-{number}.chat-nats.school.svc" for number in range(2)], "False"),
        (["chat-nats.school.svc"], "False"),
        ([], "False"),
    ],
)
def test_a_certificate_for_somebody_else_is_told(names: Sequence[str], status: str) -> None:
    usual = held("nats").certificate
    assert usual is not None
    other = tls.Held(replace(usual, hosts=tuple(names)), "authority-1", tls.needed("nats"))
    found = plan(cluster(tls=SECRETS), observed(certificates=all_held(nats=other)), NOW).status
    condition = found.condition("DatastoresReady")
    assert condition is not None
    assert condition.status == status
    if status == "False":
        assert "my-nats is not for chat-nats-" in condition.message


def test_one_nats_server_has_no_routes_to_protect() -> None:
    asked = cluster(nats={"managed": {"replicas": 1}})
    assert asked.spec.nats.managed is not None
    written = configuration(asked, asked.spec.nats.managed)
    assert "cluster {" not in written
    assert written.count("tls {") == 1
