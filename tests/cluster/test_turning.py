"""A ChatCluster from before there was TLS, turned to it under load on a real Kubernetes."""

import asyncio
import time
from collections.abc import Iterator

import pytest

from tests.cluster.harness.cache import HarnessError
from tests.cluster.harness.figures import Figures
from tests.cluster.harness.issuer import Issuer
from tests.cluster.harness.resources import begin_namespace, chat_cluster
from tests.cluster.harness.talk import Talk
from tests.cluster.harness.world import World
from tests.integration.promises import Chatter

pytestmark = [pytest.mark.long, pytest.mark.timeout(1200), pytest.mark.asyncio(loop_scope="module")]

NAME, NAMESPACE = "turn", "before"


@pytest.fixture(scope="module")
def plain(operator: World, issuer: Issuer) -> Iterator[World]:
    """Three members of each datastore, without TLS: what one is that was made when there was none, and chose `Off`."""
    begin_namespace(operator, NAMESPACE)
    operator.apply(asked(operator, "Off"))
    operator.wait_condition(NAME, NAMESPACE, "Ready", seconds=420)
    yield operator
    operator.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def asked(world: World, certificates: str) -> dict[str, object]:
    tls = {"certificates": certificates}
    return dict(chat_cluster(NAME, NAMESPACE, world, autoscaling={"mode": "Off"}, tls=tls))


async def _longest_pause(chatter: Chatter, figures: Figures) -> None:
    """Tell for how long nothing was acked, until cancelled."""
    longest, acked, since = 0.0, chatter.acked, time.monotonic()
    while True:
        await asyncio.sleep(0.1)
        if chatter.acked > acked:
            acked, since = chatter.acked, time.monotonic()
        longest = max(longest, time.monotonic() - since)
        figures.set("turned_to_tls_sends_waited_s", round(longest, 1))


async def test_it_is_turned_to_tls_under_load_and_nothing_acked_is_lost(
    plain: World, issuer: Issuer, figures: Figures
) -> None:
    with plain.reach(NAMESPACE, NAME, 80) as address:
        talk = Talk(address, issuer)
        await talk.begin()
        async with talk.client("ana", timeout=600) as ana, talk.client("bob", timeout=600) as bob:
            for watched in (ana, bob):
                await watched.subscribe(talk.room)
            async with Chatter(ana, talk.room, pace=0.2) as one:
                await one.until_acked(10)
                pauses = asyncio.create_task(_longest_pause(one, figures))
                began = time.monotonic()
                plain.apply(asked(plain, "Operator"))
                await asyncio.to_thread(plain.wait_condition, NAME, NAMESPACE, "Ready", "True", 900)
                figures.set("turned_to_tls_s", round(time.monotonic() - began, 1))
                await one.until_acked(20, within=60)
                pauses.cancel()
                await asyncio.gather(pauses, return_exceptions=True)
            verdict = await talk.verdict([ana, bob])
    assert verdict.ok, str(verdict)


async def test_and_there_is_no_way_back(plain: World) -> None:
    with pytest.raises(HarnessError, match="cannot be changed but from Off"):
        plain.apply(asked(plain, "Off"))
