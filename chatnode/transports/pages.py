"""The web client's files, read into memory once: nothing of a request's path ever reaches the file system."""

import gzip
import hashlib
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chatnode.transports.http import Handler

STATIC: Final = Path(__file__).parent.parent / "static"

HEADERS: Final[Mapping[str, str]] = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        "font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
"""Of every page and file: nothing is loaded from, sent to or framed by another origin."""

_ASSETS: Final = "/assets/"
"""Names below it contain a hash of the content."""
_IMMUTABLE: Final = "public, max-age=31536000, immutable"
_REVALIDATE: Final = "no-cache"
_TEXT: Final = ("text/", "application/json", "application/manifest+json", "image/svg+xml")
_TYPES: Final[Mapping[str, str]] = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".map": "application/json",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}
_NOT_BUILT: Final = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>The web client was not built</title>
<h1>The web client was not built</h1>
<p>This node serves the chat itself (<code>/v1/ws</code> and the HTTP interface), but it has no web client.
<p>Run <code>make web</code> in the project's folder, then start the node again.
</html>
"""


@dataclass(frozen=True, slots=True)
class Asset:
    content: bytes
    packed: bytes | None
    """Compressed by gzip, where that is worth it."""
    kind: str
    etag: str
    cache: str


def read_assets(folder: Path) -> Mapping[str, Asset]:
    """Every file below ``folder`` by its path on the server, ``index.html`` also as ``/``; empty without the folder."""
    if not folder.is_dir():
        return {}
    assets = {}
    for file in sorted(folder.rglob("*")):
        relative = file.relative_to(folder)
        if file.is_file() and not any(part.startswith(".") for part in relative.parts):
            path = f"/{relative.as_posix()}"
            assets[path] = _read(path, file)
    if "/index.html" in assets:
        assets["/"] = assets["/index.html"]
    return assets


def routes(folder: Path = STATIC) -> list[Route]:
    """One route per file, and ``/`` in any case. Files that come later are served after the next start."""
    assets = read_assets(folder)

    async def not_built(_request: Request) -> Response:
        headers = {**HEADERS, "cache-control": "no-store"}
        return Response(_NOT_BUILT, 503, headers, "text/html; charset=utf-8")

    # A brace in a route's path would begin a parameter.
    found = [Route(path, _serving(asset), methods=["GET"]) for path, asset in assets.items() if "{" not in path]
    return found if "/" in assets else [*found, Route("/", not_built, methods=["GET"])]


def _read(path: str, file: Path) -> Asset:
    content = file.read_bytes()
    kind = _TYPES.get(file.suffix) or mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    packed = gzip.compress(content, 9, mtime=0) if kind.startswith(_TEXT) else None
    return Asset(
        content=content,
        packed=packed if packed is not None and len(packed) < len(content) else None,
        kind=kind,
        etag=f'"{hashlib.sha256(content).hexdigest()[:32]}"',
        cache=_IMMUTABLE if path.startswith(_ASSETS) else _REVALIDATE,
    )


def _serving(asset: Asset) -> Handler:
    headers = {**HEADERS, "cache-control": asset.cache, "etag": asset.etag, "vary": "accept-encoding"}

    async def serve(request: Request) -> Response:
        known = {tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")}
        if asset.etag in known:
            return Response(status_code=304, headers=headers)
        if asset.packed is not None and _takes_gzip(request.headers.get("accept-encoding", "")):
            return Response(asset.packed, 200, {**headers, "content-encoding": "gzip"}, asset.kind)
        return Response(asset.content, 200, headers, asset.kind)

    return serve


def _takes_gzip(accepted: str) -> bool:
    """RFC 9110 §12.5.3, for this one coding."""
    for entry in accepted.split(","):
        coding, _, parameter = entry.partition(";")
        if coding.strip().lower() == "gzip":
            return parameter.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
