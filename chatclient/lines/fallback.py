"""What streams and polls share: rooms are followed by requests, commands are posted, all is heard in one place."""

import asyncio
import ssl
from abc import ABC, abstractmethod
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import httpx
import msgspec

from chatclient.ladder import End
from chatclient.lines.followed import Elsewhere, Followed, Request
from chatclient.lines.line import OPEN_S, Ending, Links
from chatclient.lines.network import LinkTransport
from chatclient.lines.posting import REQUESTS_MAX, Posting
from chatclient.lines.retrying import refusal_of
from chatnode.protocol.codec import decode_command, decode_server_frame
from chatnode.protocol.frames import Error

_SCHEMES: Final = {"ws": "http", "wss": "https"}


def base_of(url: str) -> str:
    """``wss://chat.example/v1/ws`` → ``https://chat.example/v1/``: what stands beside the socket.

    Raises ValueError for what is no socket's address.
    """
    parts = urlsplit(url)
    if parts.scheme not in _SCHEMES or not parts.netloc:
        raise ValueError(f"{url} isn't a valid URI: it has to begin with ws:// or wss://")
    folder = parts.path.rpartition("/")[0]
    return urlunsplit((_SCHEMES[parts.scheme], parts.netloc, f"{folder}/", "", ""))


class FallbackLine(ABC):
    """A line whose machine speaks as on a socket. One HTTP client for its whole life."""

    def __init__(self, url: str, tls: ssl.SSLContext) -> None:
        self._url = url
        self._tls = tls
        self._hung_up = asyncio.Event()
        self._changed = asyncio.Event()
        self._links: Links | None = None

    def write(self, data: bytes) -> None:
        command = decode_command(data)
        if not isinstance(command, Elsewhere):
            self._posting.put(command)
            return
        replies = self._followed.say(command)
        if self._followed.changed:
            self._posting.token = self._followed.token
            self._changed.set()
        for reply in replies:
            # Never from within the machine's own call.
            asyncio.get_running_loop().call_soon(self._hear, reply)

    def cut(self) -> None:
        self._hung_up.set()

    def hang_up(self, code: int, reason: str) -> None:  # noqa: ARG002  a request has no close code
        self._links = None
        self._hung_up.set()

    async def run(self, token: str, links: Links) -> Ending:
        try:
            base = base_of(self._url)
        except ValueError as error:
            return Ending(End(), str(error), wrong_address=True)
        limits = httpx.Limits(max_connections=REQUESTS_MAX + 4)
        async with httpx.AsyncClient(
            base_url=base, transport=LinkTransport(verify=self._tls, limits=limits), trust_env=False, timeout=OPEN_S
        ) as http:
            self._http = http
            self._links = links
            self._followed = Followed(token)
            self._posting = Posting(http, self._hear)
            self._posting.token = token
            links.opened()
            tasks: list[asyncio.Task[Ending]] = [
                asyncio.create_task(self._follow(), name="chatclient-follow"),
                asyncio.create_task(self._posting.run(), name="chatclient-posting"),
                asyncio.create_task(self._wait_for_hang_up(), name="chatclient-hang-up"),
            ]
            try:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                self._links = None
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await self._posting.stop()
            return next(iter(done)).result()

    @abstractmethod
    async def _follow(self) -> Ending:
        """Follow rooms, over all requests, until that cannot be."""

    async def _wait_for_hang_up(self) -> Ending:
        await self._hung_up.wait()
        return Ending(End(), "connection lost")

    def _take(self, request: Request, data: bytes) -> Ending | None:
        """One frame of an answer; the end of the line where that is what it says."""
        try:
            for said in self._followed.hear(request, data):
                self._hear(said)
        except msgspec.DecodeError as error:
            return Ending(End(), f"malformed frame: {error}"[:100])
        frame = decode_server_frame(data)
        if isinstance(frame, Error):
            retry_after = frame.retry_after if isinstance(frame.retry_after, float) else None
            return Ending(End(error=frame.code, retry_after=retry_after), frame.message)
        return None

    def _hear(self, data: bytes) -> None:
        if self._links is not None:
            self._links.hear(data)

    @staticmethod
    def _refused(answer: httpx.Response) -> Ending:
        end, error = refusal_of(answer.status_code, answer.headers.get("retry-after"), answer.content)
        return Ending(end, f"refused: HTTP status {answer.status_code}: {error.code}: {error.message}")
