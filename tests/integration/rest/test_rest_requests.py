"""What is wrong with a request is told, in one form; who asks too often is told when to come back."""

import asyncio

import pytest

from tests.integration.rest.site import SERVICE, Person, Site

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("before=1", "before"),
        ("after=1-x", "after"),
        ("around=-1-1", "around"),
        ("before=1-99999999999999999", "before"),
        ("before=1-1&after=1-2", "before"),
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=ten", "limit"),
        ("page=2", "page"),
    ],
)
async def test_a_wrong_parameter_is_named(site: Site, room: str, query: str, field: str) -> None:
    await site.course(room)
    reply = await site.ask("GET", f"/v1/rooms/{room}/messages?{query}")
    assert (reply.status, reply.code, reply.body["error"]["field"]) == (400, "invalid", field)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", "kind"),
        (b"not json", None),
        (b"[]", None),
        (b'{"kind": "course"}', "title"),
        (b'{"kind": "direct", "title": "x"}', "kind"),
        (b'{"kind": "course", "title": ""}', "title"),
        (b'{"kind": "course", "title": "x", "owner": "me"}', "owner"),
        (b'{"kind": "course", "title": "x\\n"}', "title"),
        (b'{"kind": "course", "title": "x", "members": [{"user": "a b", "role": "learner"}]}', "members[0].user"),
        (b'{"kind": "course", "title": "x", "members": [{"user": "a", "role": "boss"}]}', "members[0].role"),
        (
            b'{"kind":"course","title":"x","members":[{"user":"a","role":"learner"},{"user":"a","role":"trainer"}]}',
            "members[1].user",
        ),
    ],
)
async def test_a_wrong_body_is_told_with_the_field(site: Site, room: str, body: bytes, field: str | None) -> None:
    reply = await site.ask("PUT", f"/v1/rooms/{room}", body)
    assert (reply.status, reply.code) == (400, "invalid")
    if field is not None:
        assert reply.body["error"]["field"].replace("[...]", "[0]") == field


async def test_a_body_above_the_limit_is_refused(site: Site, room: str) -> None:
    reply = await site.ask("PUT", f"/v1/rooms/{room}", b'{"kind": "course", "title": "' + b"x" * 70_000 + b'"}')
    assert (reply.status, reply.code) == (413, "too_large")


async def test_an_id_outside_the_pattern_is_refused(site: Site) -> None:
    reply = await site.ask("PUT", "/v1/rooms/a%20b", {"kind": "course", "title": "x"})
    assert (reply.status, reply.body["error"]["field"]) == (400, "room")


async def test_the_same_key_changes_once_and_another_change_under_it_is_refused(
    site: Site, room: str, person: Person
) -> None:
    await site.course(room)
    path, key = f"/v1/rooms/{room}/members/{person('amina')}", {"Idempotency-Key": room}
    first = await site.ask("PUT", path, {"role": "learner"}, headers=key)
    again = await site.ask("PUT", path, {"role": "learner"}, headers=key)
    assert first.body == again.body
    other = await site.ask("PUT", path, {"role": "trainer"}, headers=key)
    assert (other.status, other.code) == (409, "id_reused")
    wrong = await site.ask("PUT", path, {"role": "trainer"}, headers={"Idempotency-Key": "a b"})
    assert (wrong.status, wrong.body["error"]["field"]) == (400, "Idempotency-Key")


async def test_keys_of_two_callers_never_meet(site: Site, room: str, person: Person) -> None:
    await site.course(room, **{person("claire"): "trainer"})
    key = {"Idempotency-Key": room}
    one = await site.ask("PUT", f"/v1/rooms/{room}/members/{person('amina')}", {"role": "learner"}, headers=key)
    two = await site.ask(
        "PUT", f"/v1/rooms/{room}/members/{person('hugo')}", {"role": "learner"}, headers=key, by=person("claire")
    )
    assert (one.status, two.status) == (200, 200)
    assert one.body != two.body


@pytest.mark.parametrize("header", [None, "Basic YTpi", "Bearer", "Bearer x.y.z", "Bearer \u00e9"])
async def test_without_a_good_token_there_is_no_answer(site: Site, header: str | None) -> None:
    headers = {} if header is None else {"authorization": header.encode("latin-1")}
    url = f"http://127.0.0.1:{site.nodes[0].port}/v1/rooms"
    response = await site.http.get(url, headers=headers)
    assert response.status_code == 401
    assert response.json()["error"]["code"] == "unauthenticated"
    assert response.headers["www-authenticate"] == "Bearer"


async def test_an_expired_token_is_told_as_such(site: Site, person: Person) -> None:
    reply = await site.ask("GET", "/v1/me", by=person("amina"), token=site.token("amina", lifetime_s=-60))
    assert reply.status == 401
    assert "expired" in reply.body["error"]["message"]


async def test_a_token_in_the_address_is_no_token(site: Site) -> None:
    reply = await site.ask("GET", f"/v1/me?token={site.token('amina')}&access_token={site.token('amina')}", by=None)
    assert reply.status == 401


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/nothing", 404, "not_found"),
        ("GET", "/nothing", 404, "not_found"),
        ("PATCH", "/v1/rooms/x", 405, "invalid"),
        ("DELETE", "/v1/rooms/x", 405, "invalid"),
        ("POST", "/v1/me", 405, "invalid"),
        ("GET", "/v1/rooms/../../etc/passwd", 404, "not_found"),
    ],
)
async def test_what_is_not_there_is_told_in_the_same_form(
    site: Site, method: str, path: str, status: int, code: str
) -> None:
    reply = await site.ask(method, path)
    assert (reply.status, reply.code) == (status, code)
    assert reply.headers["content-type"] == "application/json"


async def test_a_user_who_asks_too_often_is_told_when_to_come_back(site: Site, person: Person) -> None:
    amina = person("amina")
    burst = site.nodes[0].command_burst
    replies = await asyncio.gather(*(site.ask("GET", "/v1/me", by=amina) for _ in range(burst + 40)))
    refused = [reply for reply in replies if reply.status != 200]
    assert refused
    assert {(reply.status, reply.code) for reply in refused} == {(429, "rate_limited")}
    assert all(int(reply.headers["retry-after"]) >= 1 for reply in refused)
    assert (await site.ask("GET", "/v1/me", by=person("hugo"))).status == 200


async def test_answers_are_never_cached(site: Site) -> None:
    reply = await site.ask("GET", "/v1/me")
    assert reply.headers["cache-control"] == "no-store"
    assert reply.headers["x-content-type-options"] == "nosniff"


async def test_a_body_that_does_not_come_ends_in_an_answer(site: Site) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", site.nodes[0].port)
    head = f"PUT /v1/rooms/x HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {site.token(SERVICE)}\r\n"
    writer.write(f"{head}content-length: 100\r\n\r\n{{".encode())
    async with asyncio.timeout(8.0):
        status = await reader.readline()
    writer.close()
    assert b" 400 " in status or status == b""
