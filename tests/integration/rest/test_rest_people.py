"""Revocation, who one is, and the demo's people."""

import time

import pytest

from tests.integration.rest.site import Person, Site, wall

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_revocation_closes_every_connection_and_voids_tokens(site: Site, person: Person) -> None:
    amina = person("amina")
    token = site.token(amina)
    sockets = [await site.socket(amina, node=node) for node in (0, 1)]
    began = time.monotonic()
    reply = await site.ask("POST", f"/v1/users/{amina}/revoke", {"before": wall() + 5_000})
    assert reply.status == 200
    for socket in sockets:
        await socket.wait_closed()
        assert socket.close_code == 4501
    assert time.monotonic() - began < 2.0
    for node in (0, 1):
        refused = await site.ask("GET", "/v1/me", by=amina, token=token, node=node)
        assert (refused.status, refused.code) == (401, "unauthenticated")
        assert "revoked" in refused.body["error"]["message"]


async def test_tokens_of_after_the_revocation_are_good(site: Site, person: Person) -> None:
    amina = person("amina")
    assert (await site.ask("POST", f"/v1/users/{amina}/revoke", {"before": wall() - 60_000})).status == 200
    assert (await site.ask("GET", "/v1/me", by=amina)).status == 200


async def test_nobody_but_the_platform_revokes(site: Site, person: Person) -> None:
    reply = await site.ask("POST", f"/v1/users/{person('hugo')}/revoke", {}, by=person("amina"))
    assert (reply.status, reply.code) == (403, "forbidden")


async def test_a_revocation_of_the_future_is_refused(site: Site, person: Person) -> None:
    reply = await site.ask("POST", f"/v1/users/{person('hugo')}/revoke", {"before": wall() + 60_000})
    assert (reply.status, reply.body["error"]["field"]) == (400, "before")


async def test_me_tells_who_the_token_is_for(site: Site, person: Person) -> None:
    amina = person("amina")
    reply = await site.ask("GET", "/v1/me", by=amina)
    assert reply.status == 200
    assert (reply.body["user"], reply.body["name"]) == (amina, amina.upper())
    assert 0 < reply.body["expires_at"] - wall() <= 600_000


async def test_the_demo_gives_tokens_to_its_people(site: Site) -> None:
    users = (await site.ask("GET", "/v1/demo/users", by=None)).body["users"]
    assert {"user": "amina", "name": "Amina Diallo", "role": "learner"} in users
    signed = await site.ask("POST", "/v1/demo/token", {"user": "amina"}, by=None)
    assert signed.status == 200
    assert 3_500_000 < signed.body["expires_at"] - wall() <= 3_600_000
    me = await site.ask("GET", "/v1/me", by="amina", token=signed.body["token"])
    assert (me.body["user"], me.body["name"]) == ("amina", "Amina Diallo")
    stranger = await site.ask("POST", "/v1/demo/token", {"user": "root"}, by=None)
    assert (stranger.status, stranger.code) == (404, "not_found")


async def test_the_demo_gives_no_rights_of_the_platform(site: Site, room: str) -> None:
    token = (await site.ask("POST", "/v1/demo/token", {"user": "claire"}, by=None)).body["token"]
    reply = await site.ask("PUT", f"/v1/rooms/{room}", {"kind": "course", "title": "x"}, by="claire", token=token)
    assert reply.status == 403
