"""How a node is steered from outside: what it says of itself, and being told to drain, to stay, or to shed clients.

On the admin port. Saying is open, as metrics are; orders need the token of ``CHAT_CONTROL_TOKEN`` and name the node
that they are for, because an address may have passed on to another pod.
"""

import secrets
from collections.abc import Mapping, Sequence
from typing import Annotated, Final, Literal, Protocol, TypeVar

import msgspec
from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chatnode.transports.departure import Stance

State = Literal["starting", "serving", "cordoned", "draining", "suspended"]

_ORDER_BYTES: Final = 4096
_Order = TypeVar("_Order", bound=Struct)


class Sample(Struct, frozen=True, kw_only=True):
    """A node's own account of itself."""

    node: str
    state: State
    time_ms: int
    """The node's wall clock."""
    connections: int = 0
    capacity: int = 0
    """Connections that it takes; more are refused."""
    lag_ms: float = 0.0
    """How late its event loop ran, 90th percentile of the last ten seconds."""
    users: int = 0
    refused: int = 0
    """Handshakes refused since its start."""
    shedding: int = 0
    peers: Mapping[str, int] = {}
    """Other nodes heard by gossip → people whom they say are connected to them."""


class TakeStance(Struct, frozen=True, kw_only=True):
    node: str
    stance: Stance
    window_s: Annotated[float, Meta(ge=0, le=86_400)] = 0.0
    """Over how long ``draining`` spreads the clients' reconnects."""


class Shed(Struct, frozen=True, kw_only=True):
    node: str
    clients: Annotated[int, Meta(ge=0, le=1_000_000)]
    window_s: Annotated[float, Meta(ge=0, le=3600)]


class Steered(Protocol):
    """A node, as far as it is steered."""

    def sample(self) -> Sample: ...
    def take_stance(self, order: TakeStance) -> None:
        """The same stance again changes nothing."""
        ...

    def shed(self, order: Shed) -> None: ...


def routes(nodes: Sequence[Steered], token: str, starting: Sample) -> list[Route]:
    """``nodes`` is empty until the node is up; until then ``starting`` is its account."""

    async def sample(_: Request) -> Response:
        return _answer(nodes[0].sample() if nodes else starting)

    async def stance(request: Request) -> Response:
        order = await _order(request, token, starting.node, TakeStance)
        if isinstance(order, Response):
            return order
        if not nodes:
            return _refuse(503, "starting")
        nodes[0].take_stance(order)
        return _answer(nodes[0].sample())

    async def shed(request: Request) -> Response:
        order = await _order(request, token, starting.node, Shed)
        if isinstance(order, Response):
            return order
        if not nodes:
            return _refuse(503, "starting")
        nodes[0].shed(order)
        return _answer(nodes[0].sample())

    return [
        Route("/sample", sample),
        Route("/stance", stance, methods=["PUT"]),
        Route("/shed", shed, methods=["POST"]),
    ]


async def _order(request: Request, token: str, node: str, kind: type[_Order]) -> _Order | Response:
    """The order, or why it is refused; nothing of the body is read before the token is known to be right."""
    shown = request.headers.get("authorization", "").removeprefix("Bearer ")
    if not token or not secrets.compare_digest(shown.encode(), token.encode()):
        return _refuse(403, "orders need the token of CHAT_CONTROL_TOKEN as Authorization: Bearer")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _ORDER_BYTES:
            return _refuse(413, f"an order has at most {_ORDER_BYTES} bytes")
    try:
        order = msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError as error:
        return _refuse(400, str(error))
    meant = getattr(order, "node", "")
    return order if meant == node else _refuse(409, f"this is {node}, not {meant}")


def _answer(sample: Sample) -> Response:
    return Response(msgspec.json.encode(sample), media_type="application/json", headers={"cache-control": "no-store"})


def _refuse(status: int, reason: str) -> Response:
    return Response(msgspec.json.encode({"reason": reason}), status, media_type="application/json")
