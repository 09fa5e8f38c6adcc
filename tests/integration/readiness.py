"""What nodes say of themselves on their admin port, ready or why not; and whether a server stands still."""

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
    """Every thread of a server that was paused is stopped.

    Until one of them sees the signal the others go on, on a busy machine for long enough to answer.
    """
    async with asyncio.timeout(15):
        while not still(server.pid):
            await asyncio.sleep(0.01)


def still(pid: int) -> bool:
    """By ``proc_pid_stat(5)``, where the state follows the name, which is in parentheses."""
    stats = [(task / "stat").read_text("utf-8") for task in Path(f"/proc/{pid}/task").iterdir()]
    return all(stat.rpartition(")")[2].split()[0] == "T" for stat in stats)
