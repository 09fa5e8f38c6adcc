"""The protocol over ``POST /v1/poll`` and POST."""

import asyncio
from typing import Final

import httpx
import msgspec

from chatclient.ladder import End
from chatclient.lines.fallback import FallbackLine
from chatclient.lines.followed import Request
from chatclient.lines.line import OPEN_S, Ending
from chatnode.protocol import limits
from chatnode.protocol.rest import Poll, Polled

ANSWER_S: Final = limits.POLL_WAIT_S + 15.0
"""A node answers within the time to wait and 10 s."""
_POLLED: Final = msgspec.json.Decoder(Polled)


class PollsLine(FallbackLine):
    async def _follow(self) -> Ending:
        """One poll after the other; where rooms or the token change, the one that waits is given up."""
        await self._changed.wait()
        while True:
            # What the client says in the same turn goes into the same request.
            await asyncio.sleep(0)
            self._changed.clear()
            request = self._followed.begin()
            polling = asyncio.create_task(self._poll(request), name="chatclient-poll")
            changed = asyncio.create_task(self._changed.wait(), name="chatclient-changed")
            try:
                await asyncio.wait([polling, changed], return_when=asyncio.FIRST_COMPLETED)
                answer = polling.result() if polling.done() else None
            finally:
                polling.cancel()
                changed.cancel()
                await asyncio.gather(polling, changed, return_exceptions=True)
            if answer is None:
                continue
            ending = answer if isinstance(answer, Ending) else self._heard(request, answer)
            if ending is not None:
                return ending

    def _heard(self, request: Request, polled: Polled) -> Ending | None:
        for frame in polled.frames:
            ending = self._take(request, bytes(frame))
            if ending is not None:
                return ending
        self._followed.unanswered(request, polled.cursors)
        return None

    async def _poll(self, request: Request) -> Polled | Ending:
        body = msgspec.json.encode(Poll(cursors=request.places, welcome=request.news))
        headers = {"authorization": f"Bearer {request.token}", "content-type": "application/json"}
        timeout = httpx.Timeout(OPEN_S, read=ANSWER_S)
        try:
            async with asyncio.timeout(ANSWER_S):
                answer = await self._http.post("poll", content=body, headers=headers, timeout=timeout)
        except (httpx.HTTPError, TimeoutError) as error:
            return Ending(End(), f"the poll broke: {error!r}")
        if answer.status_code != httpx.codes.OK:
            return self._refused(answer)
        try:
            return _POLLED.decode(answer.content)
        except (msgspec.DecodeError, UnicodeError) as error:
            return Ending(End(), f"not the answer of a node: {error}"[:100])
