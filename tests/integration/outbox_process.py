"""A process with a client of its own: says what it reads, line by line, and tells what it knows of its outbox.

``python -m tests.integration.outbox_process URL TOKEN OUTBOX ROOM``; prints ``connected``, then ``acked TEXT`` and
``holds TEXT, TEXT``: what is unsent, in order.
"""

import asyncio
import sys

from chatclient import Client, Ended, Timing
from chatnode.protocol.frames import Send


async def main(url: str, token: str, outbox: str, room: str) -> None:
    async with Client(url, token, outbox=outbox, timing=Timing(reply_s=4.0, ping_s=4.0)) as client:
        tell("connected")
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(watch(client))
            while line := (await asyncio.to_thread(sys.stdin.readline)).strip():
                group.create_task(say(client, room, line))
                await asyncio.sleep(0)
            watching.cancel()


async def say(client: Client, room: str, text: str) -> None:
    try:
        await client.send(room, text)
    except Ended as ended:
        tell(f"ended {ended}")
    else:
        tell(f"acked {text}")


async def watch(client: Client) -> None:
    held = None
    while True:
        texts = [unsent.command.text for unsent in client.unsent() if isinstance(unsent.command, Send)]
        if texts != held:
            held = texts
            tell(f"holds {', '.join(texts)}")
        await asyncio.sleep(0.01)


def tell(what: str) -> None:
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
