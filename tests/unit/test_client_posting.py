"""Commands by POST: the order that a client keeps across requests."""

import asyncio
import json

import httpx

from chatclient.lines.posting import Posting
from chatclient.outbox import Outbox
from chatnode.protocol.frames import Send


def ack(command: str) -> dict[str, object]:
    return {"type": "ack", "id": command, "room": "r", "epoch": 1, "seq": 1, "ts": 1}


def failure(command: str) -> dict[str, object]:
    return {"type": "error", "id": command, "code": "unavailable", "message": "", "retryable": True}


async def test_nothing_of_a_room_is_posted_behind_a_command_that_has_to_come_again() -> None:
    """The ack of the first lets an outbox give out the next one: not before it knows that the second failed."""
    posted: list[list[str]] = []
    outbox, idle = Outbox(), asyncio.Event()

    def answer(request: httpx.Request) -> httpx.Response:
        ids = [command["id"] for command in json.loads(request.content)]
        posted.append(ids)
        failed = ids[1:] if len(posted) == 1 else []
        return httpx.Response(200, json=[failure(each) if each in failed else ack(each) for each in ids])

    def hear(data: bytes) -> None:
        reply = json.loads(data)
        if reply["type"] == "ack":
            outbox.settled(reply["id"])
        else:
            outbox.failed(reply["id"], 0.0, draw=0.5, retry_after=None)
        give_out(0.0)
        idle.set()

    def give_out(now: float) -> None:
        for command in outbox.take(now):
            posting.put(command)

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://node/v1/") as http:
        posting = Posting(http, hear)
        for number in range(40):
            outbox.add(Send(id=f"{number:02}", room="r", text="x"))
        give_out(0.0)
        await idle.wait()
        assert posted == [[f"{number:02}" for number in range(16)]]
        give_out(60.0)
        async with asyncio.timeout(5.0):
            while outbox:
                await asyncio.sleep(0)
        await posting.stop()
    assert posted[1] == ["01"]
    assert [each for ids in posted[1:] for each in ids] == [f"{number:02}" for number in range(1, 40)]
