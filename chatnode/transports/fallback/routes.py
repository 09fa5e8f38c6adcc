"""The routes of the fallbacks; gateways must not time their answers out before the node does."""

from typing import Final

from starlette.routing import Route

from chatnode.protocol import limits
from chatnode.transports.fallback.commands import Commands
from chatnode.transports.fallback.events import Events
from chatnode.transports.fallback.poll import Polls
from chatnode.transports.fallback.visit import FallbackServices
from chatnode.transports.http import ANSWER_S, answering

_POLL_S: Final = limits.POLL_WAIT_S + ANSWER_S


def routes(services: FallbackServices) -> list[Route]:
    return [
        Route("/v1/commands", answering(Commands(services)), methods=["POST"]),
        Route("/v1/events", answering(Events(services)), methods=["GET"]),
        Route("/v1/poll", answering(Polls(services), _POLL_S), methods=["POST"]),
    ]
