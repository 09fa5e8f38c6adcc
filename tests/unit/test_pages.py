"""The web client's files as a browser gets them, and the demo's routes, which exist in local mode alone."""

import gzip
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette

from chatnode.settings import Settings
from chatnode.transports import demo, pages
from chatnode.transports.http import EXCEPTION_HANDLERS

PAGE = "<!doctype html><title>Chat</title>" + "<p>text</p>" * 100


@pytest.fixture
def built(tmp_path: Path) -> Path:
    folder = tmp_path / "static"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text(PAGE)
    (folder / "assets" / "app-3f2a.js").write_text("export const x = 1;\n" * 100)
    (folder / "assets" / "logo-77.png").write_bytes(b"\x89PNG" + bytes(range(256)))
    (folder / "site.webmanifest").write_text('{"name": "Chat"}')
    (folder / ".hidden").write_text("no")
    (folder / "a b.txt").write_text("x")
    (tmp_path / "secret.txt").write_text("outside")
    return folder


def browser(folder: Path) -> httpx.AsyncClient:
    app = Starlette(routes=pages.routes(folder), exception_handlers=EXCEPTION_HANDLERS)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://chat.test")


@pytest.fixture
async def client(built: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with browser(built) as found:
        yield found


async def test_the_page_is_at_the_root_and_is_asked_for_anew(client: httpx.AsyncClient) -> None:
    for path in ("/", "/index.html"):
        response = await client.get(path)
        assert response.text == PAGE
        assert response.headers["content-type"] == "text/html; charset=utf-8"
        assert response.headers["cache-control"] == "no-cache"


async def test_named_assets_are_kept_for_ever(client: httpx.AsyncClient) -> None:
    response = await client.get("/assets/app-3f2a.js")
    assert response.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert response.headers["content-type"] == "text/javascript; charset=utf-8"


@pytest.mark.parametrize("path", ["/", "/assets/app-3f2a.js", "/assets/logo-77.png", "/site.webmanifest"])
async def test_nothing_of_another_origin_is_allowed(client: httpx.AsyncClient, path: str) -> None:
    headers = (await client.get(path)).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "connect-src": "'self'",
        "img-src": "'self'",
        "font-src": "'self'",
        "manifest-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


async def test_an_unchanged_file_is_not_sent_again(client: httpx.AsyncClient) -> None:
    etag = (await client.get("/")).headers["etag"]
    for known in (etag, f"W/{etag}", f'"other", {etag}'):
        response = await client.get("/", headers={"if-none-match": known})
        assert (response.status_code, response.content) == (304, b"")
    assert (await client.get("/", headers={"if-none-match": '"other"'})).status_code == 200


@pytest.mark.parametrize(
    ("accepted", "packed"),
    [
        ("gzip, br", True),
        ("br, GZIP;q=0.5", True),
        ("", False),
        ("br", False),
        ("gzip;q=0", False),
        ("gzip; q=0.0", False),
    ],
)
async def test_text_is_packed_for_those_who_take_it(client: httpx.AsyncClient, accepted: str, packed: bool) -> None:
    async with client.stream("GET", "/", headers={"accept-encoding": accepted}) as response:
        raw = b"".join([chunk async for chunk in response.aiter_raw()])
    assert response.headers.get("content-encoding") == ("gzip" if packed else None)
    assert (gzip.decompress(raw) if packed else raw) == PAGE.encode()
    assert response.headers["vary"] == "accept-encoding"


async def test_pictures_are_sent_as_they_are(client: httpx.AsyncClient) -> None:
    response = await client.get("/assets/logo-77.png", headers={"accept-encoding": "gzip"})
    assert "content-encoding" not in response.headers
    assert response.headers["content-type"] == "image/png"


@pytest.mark.parametrize(
    "path",
    [
        "/.hidden",
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "/assets/../../secret.txt",
        "/assets/%2e%2e%2f%2e%2e%2fsecret.txt",
        "/assets",
        "/assets/",
        "/nothing.js",
    ],
)
async def test_nothing_but_the_built_files_is_there(client: httpx.AsyncClient, path: str) -> None:
    response = await client.get(path)
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "not_found"


async def test_a_name_may_hold_a_space(client: httpx.AsyncClient) -> None:
    assert (await client.get("/a%20b.txt")).text == "x"


async def test_a_file_is_only_read(client: httpx.AsyncClient) -> None:
    assert (await client.head("/")).status_code == 200
    assert (await client.post("/")).status_code == 405


async def test_without_a_built_client_the_page_says_what_to_do(tmp_path: Path) -> None:
    async with browser(tmp_path / "static") as client:
        response = await client.get("/")
        assert response.status_code == 503
        assert "make web" in response.text
        assert "default-src 'none'" in response.headers["content-security-policy"]


async def test_a_defect_is_told_without_a_traceback() -> None:
    async def broken(_request: object) -> None:
        raise RuntimeError("the inner reason")

    app = Starlette(exception_handlers=EXCEPTION_HANDLERS)
    app.add_route("/broken", broken)  # type: ignore[arg-type]
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://chat.test") as client:
        response = await client.get("/broken")
    assert response.status_code == 500
    assert response.json()["error"]["code"] == "internal"
    assert response.json()["error"]["retryable"] is True
    assert "inner reason" not in response.text


async def test_the_demo_does_not_exist_outside_local_mode() -> None:
    production = Settings(jwks_url="https://id.example.org/keys", jwt_issuer="https://id.example.org")
    assert demo.routes(production, lambda: 0) == []
    app = Starlette(routes=demo.routes(production, lambda: 0), exception_handlers=EXCEPTION_HANDLERS)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://chat.test") as client:
        for response in (
            await client.get("/v1/demo/users"),
            await client.post("/v1/demo/token", json={"user": "amina"}),
        ):
            assert response.status_code == 404
