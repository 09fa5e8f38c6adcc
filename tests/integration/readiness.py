"""What nodes say of themselves on their admin port: ready, or why not, and how they are; and that a server stands still."""

import asyncio
from pathlib import Path

import httpx

from chatnode.local.children import Server
from chatnode.local.cluster import LocalCluster


async def unready(cluster: LocalCluster, node: int) -> list[str]:
    """Why; empty: it is ready."""
    async with httpx.AsyncClient() as http:
        return (await http.get(f"{cluster.admin_urls[node]}/readyz")).json()["reasons"]


async def until_ready(cluster: LocalCluster, node: int, *, ready: bool) -> None:
    async with asyncio.timeout(15):
        while bool(await unready(cluster, node)) is ready:
            await asyncio.sleep(0.1)


async def until_suspended(cluster: LocalCluster, node: int, within: float) -> None:
    """It has not heard control for so long that it delivers nothing."""
    async with asyncio.timeout(within):
        while not any("control" in reason for reason in await unready(cluster, node)):
            await asyncio.sleep(0.1)


async def sample(cluster: LocalCluster, node: int) -> dict[str, object]:
    async with httpx.AsyncClient() as http:
        found: dict[str, object] = (await http.get(f"{cluster.admin_urls[node]}/sample")).json()
        return found


async def until_undisturbed(cluster: LocalCluster) -> None:
    """All nodes serve, and nobody is connected: as a test finds them, and as it has to leave them."""
    for node in range(len(cluster.admin_urls)):
        async with asyncio.timeout(15):
            while ((found := await sample(cluster, node))["state"], found["connections"]) != ("serving", 0):
                await asyncio.sleep(0.02)


async def until_still(server: Server) -> None:
    """All threads of a server that was paused are stopped: those that run go on until one of them sees the signal, which
    on a busy machine is late enough to answer."""
    async with asyncio.timeout(15):
        while any(state(task) != "T" for task in Path(f"/proc/{server.pid}/task").iterdir()):
            await asyncio.sleep(0.01)


def state(task: Path) -> str:
    """``proc_pid_stat(5)``: the field behind the name, which is in parentheses."""
    return (task / "stat").read_text("utf-8").rpartition(")")[2].split()[0]
