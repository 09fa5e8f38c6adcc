"""People who talk over a cluster in Kubernetes, and the verdict over what they were promised."""

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Final

import httpx

from chatclient import Timing
from chatnode.protocol.frames import Position
from tests.cluster.harness.issuer import Issuer
from tests.integration.promises import Chatter
from tests.oracle import Log, Verdict, Watched, judge
from tests.oracle.effects import place

PEOPLE = ("ana", "bob", "eve")
TIMING = Timing(reply_s=5.0, ping_s=4.0)
_PACE_S: Final = 0.05
_BEGIN_S: Final = 60.0
_PAUSE_S: Final = 0.5


class Talk:
    """One room at ``address`` (``host:port``); everything that is done goes into ``log``."""

    def __init__(self, address: str, issuer: Issuer, *, host: str = "") -> None:
        self.room = f"room-{secrets.token_hex(4)}"
        self.log = Log()
        self._address = address
        self._issuer = issuer
        self._host = host

    @property
    def http_url(self) -> str:
        return f"http://{self._address}"

    async def begin(self) -> None:
        """Make the room."""
        members = [{"user": user, "role": "learner"} for user in PEOPLE] + [{"user": "tom", "role": "trainer"}]
        token = self._issuer.token("platform", scopes=["chat:admin"])
        headers = {"Authorization": f"Bearer {token}", **({"Host": self._host} if self._host else {})}
        room = {"kind": "course", "title": "Talk", "members": members}
        async with httpx.AsyncClient(headers=headers, timeout=30, trust_env=False) as http, asyncio.timeout(_BEGIN_S):
            while True:
                # Whatever leads there may just have lost its node, above all a forwarded port.
                with contextlib.suppress(httpx.TransportError):
                    answer = await http.put(f"{self.http_url}/v1/rooms/{self.room}", json=room)
                    answer.raise_for_status()
                    return
                await asyncio.sleep(_PAUSE_S)

    def client(self, user: str, *, name: str = "", timeout: float = 120.0) -> Watched:
        url = f"ws://{self._address}/v1/ws"
        return Watched(self.log, user, [url], self._issuer.token(user), name=name, timing=TIMING, timeout=timeout)

    async def verdict(self, present: Sequence[Watched]) -> Verdict:
        """Wait until everybody has everything, read the history, and judge."""
        history = await present[0].whole_history(self.room)
        stored = [place(event) for watched in present for event in watched.stored(self.room)]
        last = max([*stored, *(message.position for message in history)], default=Position(0, 0))
        for watched in present:
            await watched.until_at(self.room, last, within=60)
        return judge(self.log.records, {self.room: await present[0].whole_history(self.room)})

    async def through(
        self, loss: Callable[[], float], settled: Callable[[], None], *, within: float = 120.0
    ) -> tuple[float, Verdict]:
        """Two people talk and a third listens while something is lost, until ``settled`` returns.

        ``loss`` says when it was (monotonic). The answer begins with how long after it sixty more messages of each
        had been acked.
        """
        async with self.client("ana") as ana, self.client("bob") as bob, self.client("eve") as eve:
            for watched in (ana, bob, eve):
                await watched.subscribe(self.room)
            async with Chatter(ana, self.room, pace=_PACE_S) as one, Chatter(bob, self.room, pace=_PACE_S) as two:
                await one.until_acked(20)
                await two.until_acked(20)
                at = await asyncio.to_thread(loss)
                await one.until_acked(60, within=within)
                await two.until_acked(60, within=within)
                took = time.monotonic() - at
                await asyncio.to_thread(settled)
                await one.until_acked(20, within=60)
            return took, await self.verdict([ana, bob, eve])
