"""The demo's sign-in: pick a person, get a token. Exists in local mode alone; elsewhere there is no such route."""

from collections.abc import Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chatnode.identity.demo_users import DEMO_USERS
from chatnode.identity.tokens import issuer_for
from chatnode.protocol.errors import ErrorCode, ProtocolError
from chatnode.protocol.rest import DemoSignIn, DemoToken, DemoUsers, ShownDemoUser
from chatnode.settings import Settings
from chatnode.transports.http import answer, answering, body_of

TOKEN_S: Final = 3600


def routes(settings: Settings, now_ms: Callable[[], int]) -> list[Route]:
    """None outside local mode."""
    if not settings.local_mode:
        return []
    issuer = issuer_for(settings, now_ms)
    people = {person.user: person for person in DEMO_USERS}

    async def users(_request: Request) -> Response:
        return answer(DemoUsers(tuple(ShownDemoUser(each.user, each.name, each.role) for each in DEMO_USERS)))

    async def token(request: Request) -> Response:
        body = await body_of(request, DemoSignIn)
        person = people.get(body.user)
        if person is None:
            raise ProtocolError(ErrorCode.NOT_FOUND, f"{body.user} is no demo user", field="user")
        signed, expires_at = issuer.issue(person.user, person.name, lifetime_s=TOKEN_S)
        return answer(DemoToken(signed, person.user, person.name, expires_at))

    return [
        Route("/v1/demo/users", answering(users), methods=["GET"]),
        Route("/v1/demo/token", answering(token), methods=["POST"]),
    ]
