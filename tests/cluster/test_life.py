"""A whole chat cluster on a real Kubernetes: it comes up from one resource, and loses nothing when its parts die."""

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from chatoperator import certificates
from chatoperator.objects import at, items, mapping, text
from chatoperator.observe import zones_of
from chatoperator.showing import shown
from tests.cluster.harness import gateway
from tests.cluster.harness.cache import HarnessError
from tests.cluster.harness.figures import Figures
from tests.cluster.harness.issuer import Issuer
from tests.cluster.harness.kubernetes import wait_until
from tests.cluster.harness.plugin import kubectl_chat
from tests.cluster.harness.resources import begin_namespace, chat_cluster
from tests.cluster.harness.talk import Talk
from tests.cluster.harness.world import OPERATOR_NAMESPACE, World
from tests.integration.promises import Chatter

pytestmark = [pytest.mark.timeout(900), pytest.mark.asyncio(loop_scope="module")]

NAME, NAMESPACE = "chat", "lyceum"
ZONE_LABEL = "topology.kubernetes.io/zone"


@pytest.fixture(scope="module")
def school(
    operator: World, issuer: Issuer, figures: Figures, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """A ChatCluster with three members of each datastore behind Envoy Gateway, ready."""
    if operator.kubernetes is not None:
        gateway.install(operator, tmp_path_factory.mktemp("gateway"))
    began = time.monotonic()
    begin_namespace(operator, NAMESPACE)
    operator.apply(chat_cluster(NAME, NAMESPACE, operator, exposure=_exposure(operator)))
    operator.wait_condition(NAME, NAMESPACE, "Ready", seconds=420)
    figures.set("ready_s", round(time.monotonic() - began, 1))
    yield operator
    operator.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def _exposure(world: World) -> Mapping[str, object]:
    if world.kubernetes is None:
        return {"type": "none"}
    return {"type": "gateway", "gateway": {"name": gateway.NAME, "namespace": gateway.NAMESPACE}}


@pytest.fixture(scope="module")
def address(school: World) -> Iterator[str]:
    """Where people come in: the gateway, or on somebody else's cluster the Service."""
    if school.kubernetes is not None:
        yield gateway.address(school)
        return
    with school.reach(NAMESPACE, NAME, 80) as found:
        yield found


@pytest_asyncio.fixture(loop_scope="module")
async def talk(address: str, issuer: Issuer) -> AsyncIterator[Talk]:
    begun = Talk(address, issuer)
    await begun.begin()
    yield begun


async def test_people_talk_and_everybody_has_everything_once_and_in_order(talk: Talk) -> None:
    async with talk.client("ana") as ana, talk.client("bob") as bob:
        await ana.subscribe(talk.room)
        await bob.subscribe(talk.room)
        async with Chatter(ana, talk.room, pace=0.02) as one, Chatter(bob, talk.room, pace=0.02) as two:
            await one.until_acked(50)
            await two.until_acked(50)
        verdict = await talk.verdict([ana, bob])
        assert verdict.ok, str(verdict)


async def test_its_status_says_what_is_there(school: World) -> None:
    found = school.get("chatcluster", NAME, NAMESPACE)
    assert found is not None
    status = found["status"]
    assert isinstance(status, dict)
    assert status["nodes"]["summary"] == "2/2"
    assert status["workers"] == {"desired": 2, "ready": 2}
    assert status["endpoints"]["service"] == f"{NAME}.{NAMESPACE}.svc:80"
    columns = school.kubectl("-n", NAMESPACE, "get", "chat", NAME, "--no-headers").split()
    assert columns[:3] == [NAME, "True", "2/2"]


async def test_the_zones_of_its_nodes_are_known_from_their_endpoints(school: World) -> None:
    found = items({"items": school.all("nodes", "")}, "items")  # type: ignore[dict-item]  # JSON as it comes
    of_machine = {text(each, "metadata", "name"): mapping(each, "metadata", "labels").get(ZONE_LABEL) for each in found}
    if not all(of_machine.values()):
        pytest.skip("the machines have no zones")
    labels = f"kubernetes.io/service-name={NAME}"
    zones = zones_of(school.all("endpointslices", NAMESPACE, labels))  # type: ignore[arg-type]  # JSON as it comes
    pods = school.pods(NAME, NAMESPACE, "node")
    assert zones == {str(at(pod, "metadata", "uid")): of_machine[text(pod, "spec", "nodeName")] for pod in pods}


async def test_a_cookie_leads_back_to_the_same_node(school: World, address: str) -> None:
    if school.kubernetes is None:
        pytest.skip("asks the gateway that the tests have installed")
    accepted = school.condition(NAME, NAMESPACE, "ExposureAccepted")
    assert accepted["status"] == "True"
    assert "sticky by sessionPersistence" in accepted["message"]
    async with httpx.AsyncClient(base_url=f"http://{address}", trust_env=False, timeout=20) as http:
        first = await http.get("/v1/me")
        assert first.status_code == 401
        assert f"chat-{NAME}" in http.cookies
        for _ in range(10):
            assert "set-cookie" not in (await http.get("/v1/me")).headers


async def test_a_cookie_of_a_node_that_leaves_leads_to_another_at_once(
    school: World, address: str, figures: Figures
) -> None:
    if school.kubernetes is None:
        pytest.skip("asks the gateway that the tests have installed")
    answers: list[tuple[float, int, bool]] = []
    """When, its status, and whether it led to another node."""
    async with httpx.AsyncClient(base_url=f"http://{address}", trust_env=False, timeout=20) as http:
        await http.get("/v1/me")

        async def ask() -> None:
            while True:
                answer = await http.get("/v1/me")
                answers.append((time.monotonic(), answer.status_code, "set-cookie" in answer.headers))
                await asyncio.sleep(0.05)

        asking = asyncio.create_task(ask())
        pods = [str(pod["metadata"]["name"]) for pod in school.pods(NAME, NAMESPACE, "node")]  # type: ignore[index]
        try:
            left = []
            for pod in pods:
                left.append(time.monotonic())
                await asyncio.to_thread(school.kubectl, "-n", NAMESPACE, "delete", "pod", pod, "--wait=false")
                await asyncio.to_thread(wait_until, "another node", lambda: _ready_nodes(school, set(pods)) > 0, 90)
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
    assert {status for _, status, _ in answers} == {401}
    moved = [at for at, _, other in answers if other]
    assert moved, "the cookie's node was never the one that left"
    waits = [min(at - since for since in left if since <= at) for at in moved]
    figures.set("cookie_moved_s", round(max(waits), 2))
    assert max(waits) < 3
    await asyncio.to_thread(school.wait_condition, NAME, NAMESPACE, "Ready", "True", 120)


def _ready_nodes(world: World, but: set[str]) -> int:
    """Besides those."""
    found = [pod for pod in world.pods(NAME, NAMESPACE, "node") if at(pod, "metadata", "name") not in but]
    ready = [each for pod in found for each in items(pod, "status", "conditions") if text(each, "type") == "Ready"]
    return sum(text(each, "status") == "True" for each in ready)


async def test_the_operator_is_small(school: World, figures: Figures) -> None:
    script = "from urllib.request import urlopen; print(urlopen('http://127.0.0.1:8080/metrics').read().decode())"
    told = school.kubectl("-n", OPERATOR_NAMESPACE, "exec", "deploy/chat-operator", "--", "python3", "-c", script)
    found = next(line for line in told.splitlines() if line.startswith("process_resident_memory_bytes "))
    size = round(float(found.split()[1]) / 1024**2)
    figures.set("operator_rss_mib", size)
    assert size <= 150


async def test_kubectl_chat_says_how_it_is_and_pauses(school: World, tmp_path: Path) -> None:
    def chat(*arguments: str) -> str:
        return kubectl_chat(school, tmp_path, "-n", NAMESPACE, *arguments)

    told = chat("status", NAME)
    assert f"{NAMESPACE}/{NAME}" in told
    assert "workers      2 ready of 2" in told
    assert chat("status").startswith(f"{NAMESPACE}/{NAME}")
    assert "nodes, between 2 and 10" in chat("explain-scaling", NAME)
    chat("pause", NAME, "scale-in")
    try:
        await asyncio.to_thread(school.wait_condition, NAME, NAMESPACE, "Paused", "True", 30)
        assert "! Paused           True  Annotation" in chat("status", NAME)
    finally:
        chat("resume", NAME)
    await asyncio.to_thread(school.wait_condition, NAME, NAMESPACE, "Paused", "False", 30)
    with pytest.raises(HarnessError, match="there is none of this name"):
        chat("status", "nobody")


async def test_kubectl_chat_drains_a_node_whose_place_another_takes(school: World, talk: Talk, tmp_path: Path) -> None:
    before = uids(school, "node")
    async with talk.client("ana") as ana, talk.client("bob") as bob:
        await ana.subscribe(talk.room)
        await bob.subscribe(talk.room)
        async with Chatter(ana, talk.room, pace=0.1) as one:
            await one.until_acked(5)
            _, pod = _pod("node")(school)
            told = await asyncio.to_thread(kubectl_chat, school, tmp_path, "-n", NAMESPACE, "drain", pod)
            assert f"{pod} sends its clients away and ends" in told

            def replaced() -> bool:
                now = uids(school, "node")
                return len(now) == 2 and now != before

            await asyncio.to_thread(wait_until, "another node", replaced, 120)
            await one.until_acked(5, within=60)
        verdict = await talk.verdict([ana, bob])
    assert verdict.ok, str(verdict)
    await asyncio.to_thread(school.wait_condition, NAME, NAMESPACE, "Ready", "True", 120)


async def test_a_new_version_of_the_chart_touches_no_pod_of_the_cluster(school: World, talk: Talk) -> None:
    """Under load: the operator is rolled, nobody else."""
    everybody = ("node", "worker", "nats", "mongodb")
    before = {component: uids(school, component) for component in everybody}
    async with talk.client("ana") as ana, talk.client("bob") as bob:
        await ana.subscribe(talk.room)
        await bob.subscribe(talk.room)
        async with Chatter(ana, talk.room, pace=0.1) as one:
            await one.until_acked(5)
            await asyncio.to_thread(school.install_chart, "logLevel=debug")
            await one.until_acked(5, within=60)
        verdict = await talk.verdict([ana, bob])
    assert verdict.ok, str(verdict)
    await asyncio.to_thread(school.wait_condition, NAME, NAMESPACE, "Ready", "True", 120)
    assert {component: uids(school, component) for component in everybody} == before


async def test_certificates_are_renewed_without_a_restart_or_a_broken_connection(
    school: World, talk: Talk, figures: Figures
) -> None:
    if school.kubernetes is None:
        pytest.skip("looks at the servers by the addresses of their pods")
    stores = (("nats", 4222), ("mongodb", 27017))
    before = {component: uids(school, component) for component in ("node", "worker", "nats", "mongodb")}
    async with talk.client("ana") as ana, talk.client("bob") as bob:
        await ana.subscribe(talk.room)
        await bob.subscribe(talk.room)
        async with Chatter(ana, talk.room, pace=0.1) as one:
            await one.until_acked(5)
            open_before = await connections(school)
            assert open_before
            began = time.monotonic()
            for component, _ in stores:
                school.kubectl("-n", NAMESPACE, "delete", "secret", f"{NAME}-{component}-tls")
            waiting = {f"{host}:{port}" for component, port in stores for host in addresses(school, component)}
            while waiting:
                wanted = await asyncio.to_thread(_issued, school)
                for member in sorted(waiting):
                    if await shown(member, greets=member.endswith(":4222")) in wanted:
                        waiting.discard(member)
                assert time.monotonic() - began < 300, waiting
                await asyncio.sleep(2)
            figures.set("certificates_renewed_s", round(time.monotonic() - began, 1))
            await one.until_acked(5, within=60)
            assert open_before <= await connections(school)
        verdict = await talk.verdict([ana, bob])
    assert verdict.ok, str(verdict)
    assert {component: uids(school, component) for component in before} == before


def uids(world: World, component: str) -> set[str]:
    """Of the pods that are not about to end."""
    return {str(pod["metadata"]["uid"]) for pod in world.pods(NAME, NAMESPACE, component)}  # type: ignore[index]


def addresses(world: World, component: str) -> list[str]:
    return [str(pod["status"]["podIP"]) for pod in world.pods(NAME, NAMESPACE, component)]  # type: ignore[index]


def _issued(world: World) -> set[str]:
    """The certificates that are in the Secrets now."""
    found = [world.get("secret", f"{NAME}-{component}-tls", NAMESPACE) or {} for component in ("nats", "mongodb")]
    data = [base64.b64decode(secret["data"]["tls.crt"]).decode() for secret in found if secret]  # type: ignore[index]
    return {certificates.read(pem)[0].fingerprint for pem in data}


async def connections(world: World) -> set[tuple[str, int]]:
    """Of nodes and workers with NATS, all of them over TLS: server and number."""
    found = set()
    async with httpx.AsyncClient(trust_env=False, timeout=5) as http:
        for host in await asyncio.to_thread(addresses, world, "nats"):
            for each in (await http.get(f"http://{host}:8222/connz")).json()["connections"]:
                assert each["tls_version"] in {"1.2", "1.3"}, each
                found.add((host, each["cid"]))
    return found


def _pod(component: str, ordinal: int = 0) -> Callable[[World], tuple[str, str]]:
    def find(world: World) -> tuple[str, str]:
        return NAMESPACE, str(world.pods(NAME, NAMESPACE, component)[ordinal]["metadata"]["name"])  # type: ignore[index]

    return find


def _operator(world: World) -> tuple[str, str]:
    pods = world.kubectl(
        "-n", OPERATOR_NAMESPACE, "get", "pods", "-l", "app.kubernetes.io/name=chat-operator", "-o", "name"
    )
    return OPERATOR_NAMESPACE, pods.split()[0].removeprefix("pod/")


def _gateway(world: World) -> tuple[str, str]:
    return gateway.NAMESPACE, gateway.proxy_pod(world)


def _mongodb_primary(world: World) -> tuple[str, str]:
    """The one that says so."""
    for ordinal in range(3):
        pod = f"{NAME}-mongodb-{ordinal}"
        script = (
            "import sys\nfrom pymongo import MongoClient\n"
            f"h=MongoClient('{pod}.{NAME}-mongodb.{NAMESPACE}.svc:27017',directConnection=True,tls=True,tlsInsecure=True,"
            "serverSelectionTimeoutMS=4000).admin.command('hello')\nprint(h['isWritablePrimary'])"
        )
        where = ("-n", OPERATOR_NAMESPACE, "exec", "deploy/chat-operator", "--", "python3", "-c", script)
        if world.kubectl(*where).strip() == "True":
            return NAMESPACE, pod
    raise AssertionError("MongoDB has no primary")


@pytest.mark.parametrize(
    ("what", "find"),
    [
        ("node", _pod("node")),
        ("worker", _pod("worker")),
        ("nats", _pod("nats", 1)),
        ("mongodb primary", _mongodb_primary),
        ("gateway", _gateway),
        ("operator", _operator),
    ],
)
async def test_nothing_acked_is_lost_when_it_is_killed(
    what: str, find: Callable[[World], tuple[str, str]], school: World, talk: Talk, figures: Figures
) -> None:
    if school.kubernetes is None and find is _gateway:
        pytest.skip("kills the gateway that the tests have installed")

    def ready() -> None:
        school.wait_condition(NAME, NAMESPACE, "Ready", seconds=240)

    took, verdict = await talk.through(lambda: school.kill_pod(*find(school)), ready)
    figures.recovered(what, took)
    figures.total("lost_messages", what, len(verdict.problems))
    assert verdict.ok, str(verdict)
