"""Talking to the nodes themselves, on their admin port: what they say, what they are told; each call has a deadline."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Self

import aiohttp
import msgspec
from msgspec import Struct

from chatoperator.autoscale.samples import Pod, Sample, State
from chatoperator.drain.wishes import Order, ShedOrder
from chatoperator.plan.naming import ADMIN_PORT

logger = logging.getLogger(__name__)

_DEADLINE_S: Final = 2.0
_AT_ONCE: Final = 64


class _Account(Struct, frozen=True, kw_only=True):
    """What a node answers; what else it says is not looked at."""

    node: str
    state: State
    time_ms: int
    connections: int = 0
    capacity: int = 0
    lag_ms: float = 0.0
    refused: int = 0
    peers: dict[str, int] = {}


class _Readiness(Struct, frozen=True):
    reasons: list[str] = []


class Nodes:
    """A pool of connections to nodes; an async context manager."""

    def __init__(self, *, wall: Callable[[], float] = time.time, port: int = ADMIN_PORT) -> None:
        self._wall = wall
        self._port = port
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=_DEADLINE_S), connector=aiohttp.TCPConnector(limit=_AT_ONCE)
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def ask(self, pods: Iterable[Pod]) -> Sequence[Sample]:
        """What each pod says of itself; those that do not answer in time are missing."""
        told = await asyncio.gather(*(self._ask(pod) for pod in pods if pod.address))
        return [sample for sample in told if sample is not None]

    async def _ask(self, pod: Pod) -> Sample | None:
        body = await self._call("GET", pod.address, "sample", None, "")
        if body is None:
            return None
        try:
            account = msgspec.json.decode(body, type=_Account)
        except msgspec.DecodeError as error:
            logger.warning("%s answered what no node would: %s", pod.name, error)
            return None
        return Sample(
            pod=pod.uid,
            node=account.node,
            heard=self._wall(),
            # A node that is still starting has no clock to show.
            time=account.time_ms / 1000 if account.time_ms else self._wall(),
            state=account.state,
            connections=account.connections,
            capacity=account.capacity,
            lag_ms=account.lag_ms,
            refused=account.refused,
            peers=account.peers,
        )

    async def unready(self, address: str) -> Sequence[str] | None:
        """Why a node or worker says that it is not ready; empty: it says that it is. None: it does not answer."""
        found = await self._request("GET", address, "readyz", None, "")
        try:
            return None if found is None else msgspec.json.decode(found[1], type=_Readiness).reasons
        except msgspec.DecodeError as error:
            logger.warning("%s answered what no node would: %s", address, error)
            return None

    async def tell(self, order: Order | ShedOrder, address: str, token: str) -> bool:
        """Whether the node has taken the order. One that has not is told again on the next visit."""
        if isinstance(order, Order):
            body = {"node": order.node, "stance": order.stance, "window_s": order.window_s}
            return await self._call("PUT", address, "stance", body, token) is not None
        shed = {"node": order.node, "clients": order.clients, "window_s": order.window_s}
        return await self._call("POST", address, "shed", shed, token) is not None

    async def _call(self, method: str, address: str, path: str, body: object, token: str) -> bytes | None:
        found = await self._request(method, address, path, body, token)
        if found is None:
            return None
        status, content = found
        if status != 200:
            logger.warning("%s %s of %s: %d %s", method, path, address, status, content[:200])
            return None
        return content

    async def _request(
        self, method: str, address: str, path: str, body: object, token: str
    ) -> tuple[int, bytes] | None:
        if self._session is None:
            raise RuntimeError("Nodes is used outside its own `async with`")
        host = f"[{address}]" if ":" in address else address
        data = None if body is None else msgspec.json.encode(body)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            url = f"http://{host}:{self._port}/{path}"
            async with self._session.request(method, url, data=data, headers=headers) as answer:
                return answer.status, await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            logger.debug("%s %s of %s: %r", method, path, address, error)
            return None
