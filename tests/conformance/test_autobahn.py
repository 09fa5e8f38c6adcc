"""RFC 6455 conformance by the Autobahn suite: framing, pings, fragments, UTF-8, closing (groups 1 to 7 and 10).

Groups 9 (megabytes in one message) and 12, 13 (compression) are about what this server refuses on purpose.
"""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from chatnode.local.children import free_port
from chatnode.local.probing import http_status
from chatnode.local.servers import Envoy, NodePorts
from tests.conformance.autobahn import python2, wstest

ROOT = Path(__file__).resolve().parents[2]
CASES = [f"{group}.*" for group in (1, 2, 3, 4, 5, 6, 7, 10)]
GOOD = {"OK", "NON-STRICT", "INFORMATIONAL"}
NON_STRICT = {"6.4.3", "6.4.4"}
"""Bad UTF-8 is refused when its frame is whole, not in the middle of it."""


@contextmanager
def echoing() -> Iterator[int]:
    """The port of an echo server over the node's socket class."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.conformance.echo_server"], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as server:
        try:
            assert server.stdout is not None
            yield int(server.stdout.readline())
        finally:
            server.terminate()


async def suite(command: Path, folder: Path, servers: dict[str, int]) -> dict[str, dict[str, dict[str, object]]]:
    """What the suite found, by server and case."""
    spec = {
        "outdir": str(folder / "reports"),
        "servers": [
            {"agent": agent, "url": f"ws://127.0.0.1:{port}/v1/ws", "protocols": ["chat.v1"]}
            for agent, port in servers.items()
        ],
        "cases": CASES,
        "exclude-cases": [],
        "exclude-agent-cases": {},
    }
    (folder / "spec.json").write_text(json.dumps(spec))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    client = await asyncio.create_subprocess_exec(
        *(command, "-m", "fuzzingclient", "-s", folder / "spec.json"),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(600):
            output, _ = await client.communicate()
    finally:
        if client.returncode is None:
            client.kill()
            await client.wait()
    assert client.returncode == 0, output.decode()[-2000:]
    return msgspec.json.decode((folder / "reports" / "index.json").read_bytes())


@pytest.mark.timeout(900)
async def test_the_autobahn_suite_finds_nothing_wrong_straight_and_through_the_front_door(tmp_path: Path) -> None:
    python = python2()
    if python is None:
        pytest.skip("the Autobahn suite needs Python 2.7 (CHAT_PYTHON2, PATH or pyenv)")
    command = await asyncio.to_thread(wstest, python)
    with echoing() as port:
        async with Envoy(tmp_path / "envoy", port=free_port(), nodes=[NodePorts(port, port)]) as door:
            await until_open(door.port)
            results = await suite(command, tmp_path, {"node": port, "front door": door.port})
    told = {
        agent: {case: [str(one["behavior"]), str(one["behaviorClose"])] for case, one in sorted(found.items())}
        for agent, found in results.items()
    }
    failed = {
        (agent, case): how for agent, found in told.items() for case, how in found.items() if not set(how) <= GOOD
    }
    figures = {"cases": sum(map(len, told.values())), "failed": len(failed), "behaviour": told}
    (ROOT / "build").mkdir(exist_ok=True)
    (ROOT / "build" / "autobahn.json").write_text(json.dumps(figures, indent=1))
    assert failed == {}
    assert {agent: len(found) for agent, found in told.items()} == {"node": 247, "front door": 247}
    assert {case for found in told.values() for case, how in found.items() if "NON-STRICT" in how} == NON_STRICT


async def until_open(port: int) -> None:
    """The front door has found its node ready."""
    async with asyncio.timeout(10):
        while await http_status(port, "/readyz") != 200:
            await asyncio.sleep(0.05)
