"""The worker as a process: what it cannot mend is one line that says what to do."""

import asyncio
import os
import sys

import msgspec

from chatnode.broker.connection import connect
from chatnode.local.servers import NatsServer
from tests.integration.conftest import MongoAddress


async def test_a_stream_that_cannot_be_changed_is_named_with_what_to_do(
    nats_server: NatsServer, mongo: MongoAddress, database: str
) -> None:
    client = await connect(nats_server.url, name="test")
    stranger = {"name": "CHAT_0", "subjects": ["chat.0.room.*"], "storage": "memory", "retention": "workqueue"}
    await client.request("$JS.API.STREAM.CREATE.CHAT_0", msgspec.json.encode(stranger), timeout=5)
    await client.close()
    settings = {
        "CHAT_NATS_URL": nats_server.url,
        "CHAT_MONGODB_URI": mongo.uri,
        "CHAT_MONGODB_DATABASE": database,
        "CHAT_ADMIN_PORT": "0",
    }
    worker = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "chatnode.cli", "worker"),
        env={**os.environ, **settings},
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(60):
            _, stderr = await worker.communicate()
    finally:
        if worker.returncode is None:
            worker.kill()
            await worker.wait()
    last = stderr.decode().splitlines()[-1]
    assert worker.returncode == 1
    assert last.startswith("chatcluster: stream CHAT_0: storage is 'memory', not 'file'")
    assert "Traceback" not in stderr.decode()
