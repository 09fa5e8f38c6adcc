"""What nodes say of themselves on their admin port: ready, or why not."""

import asyncio

import httpx

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
