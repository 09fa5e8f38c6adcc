"""People who talk over a cluster in Kubernetes, and the verdict over what they were promised."""

import secrets
from collections.abc import Callable, Sequence

import httpx

from chatclient import Timing
from chatnode.protocol.frames import Position
from tests.cluster.harness.issuer import Issuer
from tests.oracle import Log, Verdict, Watched, judge
from tests.oracle.effects import place

PEOPLE = ("ana", "bob", "eve")
TIMING = Timing(reply_s=5.0, ping_s=4.0)


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
        async with httpx.AsyncClient(headers=headers, timeout=30, trust_env=False) as http:
            answer = await http.put(
                f"{self.http_url}/v1/rooms/{self.room}", json={"kind": "course", "title": "Talk", "members": members}
            )
            answer.raise_for_status()

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


Killer = Callable[[], str]
