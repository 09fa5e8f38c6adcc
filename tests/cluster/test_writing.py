"""The operator's writing against a real kube-apiserver, without any pod: brought about, put right, taken away."""

import asyncio
import random
import re
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import ClassVar

import msgspec
import pytest

from chatoperator import certificates
from chatoperator.kube import PLURALS, ApiError, Kube
from chatoperator.objects import Json, Object, Ref, decoded, items, mapping, owned_by, text
from chatoperator.plan.naming import MANAGER, PAUSED
from chatoperator.plan.tls import Issue
from tests.cluster.harness import tools
from tests.cluster.harness.bare import NAMES, asked, children, essence, reconciler, replicas, settle
from tests.cluster.harness.world import World

pytestmark = [pytest.mark.timeout(600), pytest.mark.asyncio(loop_scope="module")]


async def test_a_second_visit_writes_nothing(kube: Kube, cluster: str) -> None:
    visitor = reconciler(kube)
    before = {
        where: text(thing, "metadata", "resourceVersion") for where, thing in (await children(kube, cluster)).items()
    }
    assert await visitor.visit(("default", cluster)) is not None
    assert visitor.writes == 0
    after = {
        where: text(thing, "metadata", "resourceVersion") for where, thing in (await children(kube, cluster)).items()
    }
    assert after == before
    assert len(after) > 20


_watched: list[int] = []
"""Threads that may not wait for the network; empty: none is watched."""
_waited: list[str] = []


def _hear(event: str, arguments: tuple[object, ...]) -> None:
    if threading.get_ident() in _watched and event in {"socket.connect", "socket.getaddrinfo", "subprocess.Popen"}:
        patient = getattr(arguments[0], "gettimeout", None)
        if patient is None or patient() != 0:
            _waited.append(f"{event} {arguments[1:]}")


sys.addaudithook(_hear)


async def test_no_call_of_a_visit_blocks_the_loop(api: World, kube: Kube, cluster: str) -> None:
    await kube.delete(Ref("v1", "Service", cluster), "default")
    async with await Kube.connect(str(api.kubeconfig)) as fresh:
        _watched.append(threading.get_ident())
        try:
            await reconciler(fresh).visit(("default", cluster))
            assert _waited == []
            with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
                assert _waited != [], "the watch sees nothing"
        finally:
            _watched.clear()
            _waited.clear()


async def test_every_child_that_is_deleted_comes_back(kube: Kube, cluster: str) -> None:
    before = await children(kube, cluster)
    for where in before:
        await kube.delete(where, "default")
    await settle(reconciler(kube), cluster)
    after = await children(kube, cluster)
    assert {where: essence(thing) for where, thing in after.items()}.keys() == before.keys()


async def test_one_visit_makes_whatever_was_deleted_but_for_secrets_and_says_so(kube: Kube, cluster: str) -> None:
    before = {where: essence(thing) for where, thing in (await children(kube, cluster)).items()}
    gone = [where for where in before if where.kind not in {"Secret", "Deployment"}]
    for where in gone:
        await kube.delete(where, "default")
    await reconciler(kube).visit(("default", cluster))
    assert (await children(kube, cluster)).keys() == before.keys()
    notes = await _applied(kube, cluster)
    assert {f"{where.kind} {where.name}: made, it was not there" for where in gone} <= notes


def owned_fields(fields: Json, thing: Json, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Json]]:
    """Plain values that a field manager owns, with where they are."""
    for step, below in mapping(fields).items():
        name = step.removeprefix("f:")
        value = mapping(thing).get(name)
        if step.startswith("f:") and isinstance(value, Mapping):
            yield from owned_fields(below, value, (*path, name))
        elif step.startswith("f:") and isinstance(value, str | int):
            yield (*path, name), value


async def test_one_visit_puts_right_every_owned_field_of_every_child_and_says_which(kube: Kube, cluster: str) -> None:
    """Each is edited by itself; what the API server does not let be changed stays as it is."""
    before = await children(kube, cluster)
    edited: dict[Ref, set[str]] = {}
    for where, thing in before.items():
        if where.kind == "Secret":
            continue
        for path, value in owned_fields(owned_by(thing, MANAGER), thing):
            other: Json = not value if isinstance(value, bool) else value + 1 if isinstance(value, int) else f"{value}x"
            if path[:2] in {("metadata", "ownerReferences"), ("metadata", "labels")}:
                continue
            if await _edit(kube, where, path, other):
                edited.setdefault(where, set()).add(path[-1])
    fixed = {"ServiceAccount", "NetworkPolicy"}
    assert {where.kind for where in edited} >= {where.kind for where in before} - {"Secret"} - fixed
    assert sum(map(len, edited.values())) > 60
    visitor = reconciler(kube)
    await visitor.visit(("default", cluster))
    after = {where: essence(thing) for where, thing in (await children(kube, cluster)).items()}
    assert after == {where: essence(thing) for where, thing in before.items()}
    notes = await _applied(kube, cluster)
    for where in edited:
        assert any(note.startswith(f"{where.kind} {where.name}: ") for note in notes), where
    await settle(visitor, cluster)


async def _edit(kube: Kube, where: Ref, path: tuple[str, ...], value: Json) -> bool:
    """As a person would by a merge patch; whether the API server took it."""
    patch: Json = value
    for step in reversed(path):
        patch = {step: patch}
    plural = f"/namespaces/default/{PLURALS[where.kind]}/{where.name}"
    root = f"/apis/{where.api_version}" if "/" in where.api_version else f"/api/{where.api_version}"
    try:
        await kube._call("PATCH", root + plural, {}, patch, "application/merge-patch+json")  # type: ignore[arg-type]
    except ApiError as error:
        if error.status not in {400, 422}:
            raise
        return False
    return True


async def test_children_that_somebody_has_labelled_otherwise_are_found_again(kube: Kube, cluster: str) -> None:
    before = await children(kube, cluster)
    for where in before:
        if where.kind != "Secret":
            path = ("metadata", "labels", "app.kubernetes.io/instance")
            assert await _edit(kube, where, path, "somebody")
    await reconciler(kube).visit(("default", cluster))
    after = {where: essence(thing) for where, thing in (await children(kube, cluster)).items()}
    assert after == {where: essence(thing) for where, thing in before.items()}


async def _applied(kube: Kube, name: str) -> set[str]:
    """What the Events of a ChatCluster say was applied."""
    found = await kube.list("events.k8s.io/v1", "Event", "default")
    return {
        text(each, "note")
        for each in found
        if (text(each, "regarding", "name"), text(each, "reason")) == (name, "Applied")
    }


async def test_every_owned_field_that_is_edited_is_put_right_and_those_of_others_stay(
    api: World, kube: Kube, cluster: str
) -> None:
    before = {where: essence(thing) for where, thing in (await children(kube, cluster)).items()}
    node, config = f"{cluster}-node", f"{cluster}-worker"
    image = '{"spec":{"template":{"spec":{"containers":[{"name":"node","image":"evil:1"}]}}}}'
    api.kubectl("patch", "deployment", node, "--type=strategic", "-p", image)
    api.kubectl("patch", "configmap", config, "--type=merge", "-p", '{"data":{"CHAT_RETENTION_HOURS":"1","MINE":"x"}}')
    api.kubectl(
        "patch", "service", cluster, "--type=merge", "-p", '{"spec":{"selector":{"app.kubernetes.io/name":"x"}}}'
    )
    api.kubectl("label", "deployment", node, "team=blue")
    api.kubectl("scale", "deployment", node, "--replicas=9")
    await settle(reconciler(kube), cluster)
    after = await children(kube, cluster)
    assert mapping(after[Ref("v1", "ConfigMap", config)], "data").get("MINE") == "x"
    assert mapping(after[Ref("apps/v1", "Deployment", node)], "metadata", "labels").get("team") == "blue"
    api.kubectl("patch", "configmap", config, "--type=json", "-p", '[{"op":"remove","path":"/data/MINE"}]')
    api.kubectl("label", "deployment", node, "team-")
    assert {where: essence(thing) for where, thing in (await children(kube, cluster)).items()} == before


async def test_credentials_are_drawn_once(kube: Kube, cluster: str) -> None:
    where = Ref("v1", "Secret", f"{cluster}-credentials")
    before = await kube.get(where, "default")
    await reconciler(kube).visit(("default", cluster))
    after = await kube.get(where, "default")
    assert before is not None
    assert after is not None
    assert before["data"] == after["data"]


async def test_a_certificate_that_is_lost_is_issued_again_by_the_same_authority(kube: Kube, cluster: str) -> None:
    authority, member = (Ref("v1", "Secret", f"{cluster}-{name}-tls") for name in ("authority", "nats"))
    before = {where: await _data(kube, where) for where in (authority, member)}
    await kube.delete(member, "default")
    await settle(reconciler(kube), cluster)
    assert await _data(kube, authority) == before[authority]
    after = await _data(kube, member)
    assert after["ca.crt"] == before[member]["ca.crt"]
    assert after["tls.key"] != before[member]["tls.key"]


async def test_an_authority_that_is_lost_stays_believed_beside_the_next(kube: Kube, cluster: str) -> None:
    authority, member = (Ref("v1", "Secret", f"{cluster}-{name}-tls") for name in ("authority", "nats"))
    before = await _data(kube, member)
    await kube.delete(authority, "default")
    await settle(reconciler(kube), cluster)
    after = await _data(kube, member)
    assert after["tls.crt"] == before["tls.crt"]
    assert len(certificates.read(after["ca.crt"])) == 2
    assert before["ca.crt"] in after["ca.crt"]


async def test_cert_manager_is_asked_in_words_that_it_takes_and_pods_wait_for_its_answer(
    api: World, kube: Kube
) -> None:
    folder = tools.module_folder("cert-manager", "github.com/cert-manager/cert-manager") / "deploy" / "crds"
    api.apply_file(folder / "cert-manager.io_certificates.yaml")
    api.kubectl("wait", "--for=condition=Established", "crd/certificates.cert-manager.io", "--timeout=60s")
    name = next(NAMES)
    api.apply(asked(name, tls={"certificates": "CertManager", "issuer": {"name": "internal"}}))
    await settle(reconciler(kube), name)
    deployment = Ref("apps/v1", "Deployment", f"{name}-node")
    assert deployment not in await children(kube, name)
    assert "its issuer ready" in api.condition(name, "default", "DatastoresReady")["message"]
    authority = certificates.successor("", "internal", datetime.now(UTC))
    for component in ("nats", "mongodb"):
        wanted = await kube.get(Ref("cert-manager.io/v1", "Certificate", f"{name}-{component}-tls"), "default")
        hosts = [str(host) for host in items(wanted, "spec", "dnsNames")]
        order = Issue({}, component, tuple(hosts), combined=component == "mongodb")
        data = certificates.member(order, {}, authority, datetime.now(UTC))
        api.apply(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": text(wanted, "spec", "secretName"), "namespace": "default"},
                "stringData": dict(data),
            }
        )
    await settle(reconciler(kube), name)
    assert deployment in await children(kube, name)
    again = reconciler(kube)
    await again.visit(("default", name))
    assert again.writes == 0
    api.kubectl("delete", "chatcluster", name)
    api.kubectl("delete", "secret", f"{name}-nats-tls", f"{name}-mongodb-tls")


async def _data(kube: Kube, where: Ref) -> Mapping[str, str]:
    return decoded(await kube.get(where, "default"))


async def test_a_part_that_is_no_longer_wanted_goes(api: World, kube: Kube, cluster: str) -> None:
    exposure = {"type": "ingress", "host": "h.test", "ingress": {"profile": "traefik"}}
    api.apply(asked(cluster, exposure=exposure))
    await settle(reconciler(kube), cluster)
    ingress = Ref("networking.k8s.io/v1", "Ingress", f"{cluster}-ingress")
    service = Ref("v1", "Service", cluster)
    found = await children(kube, cluster)
    assert ingress in found
    assert any("sticky" in key for key in mapping(found[service], "metadata", "annotations"))
    api.apply(asked(cluster, exposure={"type": "none"}))
    await settle(reconciler(kube), cluster)
    found = await children(kube, cluster)
    assert ingress not in found
    assert not mapping(found[service], "metadata", "annotations")


async def test_replicas_have_an_owner_of_their_own(kube: Kube, cluster: str) -> None:
    found = await kube.get(Ref("apps/v1", "Deployment", f"{cluster}-node"), "default")
    assert found is not None
    managers = {
        text(entry, "manager"): "f:replicas" in mapping(entry, "fieldsV1", "f:spec")
        for entry in items(found, "metadata", "managedFields")
    }
    assert managers == {"chat-operator": False, "chat-autoscaler": True}


async def test_a_pause_leaves_everything_alone(api: World, kube: Kube, cluster: str) -> None:
    api.kubectl("annotate", "chatcluster", cluster, f"{PAUSED}=all")
    api.kubectl("delete", "configmap", f"{cluster}-node")
    await settle(reconciler(kube), cluster)
    assert Ref("v1", "ConfigMap", f"{cluster}-node") not in await children(kube, cluster)
    assert api.condition(cluster, "default", "Paused")["status"] == "True"
    api.kubectl("annotate", "chatcluster", cluster, f"{PAUSED}-")
    await settle(reconciler(kube), cluster)
    assert Ref("v1", "ConfigMap", f"{cluster}-node") in await children(kube, cluster)


class _Crash(Exception):
    """The operator dies here."""


class CrashingKube(Kube):
    """Dies after its n-th write; what changes nothing is none, as a status that is written again to be sure of it."""

    left: int
    written: ClassVar[set[str]] = set()
    """Versions that earlier writes have made."""

    async def _call(self, method: str, path: str, *rest: object) -> Object:
        answer = await super()._call(method, path, *rest)  # type: ignore[arg-type]
        version = text(answer, "metadata", "resourceVersion")
        if method != "GET" and version not in self.written:
            self.written.add(version)
            self.left -= 1
            if self.left == 0:
                raise _Crash
        return answer


async def test_a_crash_after_every_single_write_comes_to_the_same_end(api: World, kube: Kube) -> None:
    name = next(NAMES)
    api.apply(asked(name))
    crashes = 0
    while True:
        async with await CrashingKube.connect(str(api.kubeconfig)) as crashing:
            crashing.left = 1
            try:
                await reconciler(crashing).visit(("default", name))
            except _Crash:
                crashes += 1
                continue
            break
    assert crashes > 20
    whole = next(NAMES)
    api.apply(asked(whole))
    await settle(reconciler(kube), whole)

    def renamed(things: Mapping[Ref, Object], own: str) -> list[str]:
        return sorted(
            re.sub(
                r'"chat\.skillhub\.io/configuration":"\w+"', "", msgspec.json.encode(essence(thing)).decode()
            ).replace(own, "NAME")
            for thing in things.values()
            if thing["kind"] != "Service"
        )

    assert renamed(await children(kube, name), name) == renamed(await children(kube, whole), whole)
    for each in (name, whole):
        api.kubectl("delete", "chatcluster", each)


async def test_events_that_are_lost_doubled_and_reordered_come_to_the_same_end(api: World, kube: Kube) -> None:
    name = next(NAMES)
    visitor = reconciler(kube)
    draw = random.Random(7)
    events: list[int] = []
    """Generations that a watch has still to tell of: late, doubled, in any order; every third is lost."""
    for generation, count in enumerate((3, 5, 4, 6), 1):
        api.apply(asked(name, nodes={"replicas": count}, autoscaling={"mode": "Off"}))
        events += [generation] * draw.randrange(1, 3)
        draw.shuffle(events)
        for _ in range(draw.randrange(len(events))):
            told = events.pop()
            if draw.random() > 1 / 3:
                visitor.saw(("default", name), told)
        await asyncio.sleep(draw.random() * 0.3)
    # The newest was told of first, and the oldest is the last that is heard.
    for told in sorted({4, *events}, reverse=True):
        visitor.saw(("default", name), told)
    async with asyncio.timeout(60):
        while await replicas(kube, name) != 6:
            await asyncio.sleep(0.1)
    await visitor.stop()
    api.kubectl("delete", "chatcluster", name)
