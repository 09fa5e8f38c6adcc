"""What surrounds the people of browser tests: the platform's backend."""

import contextlib
import secrets
from collections.abc import AsyncIterator, Sequence
from typing import Self

import httpx

from chatclient import Client
from chatnode.identity.demo_users import DEMO_USERS
from chatnode.local.cluster import LocalCluster

_PEOPLE = {person.user: person for person in DEMO_USERS}


class Centre:
    """The platform's backend, with its service token."""

    def __init__(self, http: httpx.AsyncClient, cluster: LocalCluster) -> None:
        self._http = http
        self._cluster = cluster

    @classmethod
    @contextlib.asynccontextmanager
    async def of(cls, cluster: LocalCluster) -> AsyncIterator[Self]:
        headers = {"Authorization": f"Bearer {cluster.service_token()}"}
        async with httpx.AsyncClient(base_url=cluster.url, headers=headers, timeout=20) as http:
            yield cls(http, cluster)

    async def course(self, *people: str, title: str = "Atelier", room: str | None = None) -> str:
        """A room of its own for one test, with these demo users in their roles; returns its id."""
        room = room or f"atelier-{secrets.token_hex(4)}"
        members = [{"user": user, "role": _PEOPLE[user].role, "name": _PEOPLE[user].name} for user in people]
        await self._put(f"/v1/rooms/{room}", {"kind": "course", "title": f"{title} {room[-4:]}", "members": members})
        return room

    async def close(self, room: str, *, closed: bool = True) -> None:
        title = (await self._http.get(f"/v1/rooms/{room}")).raise_for_status().json()["title"]
        await self._put(f"/v1/rooms/{room}", {"kind": "course", "title": title, "closed": closed})

    async def remove(self, room: str, user: str) -> None:
        (await self._http.delete(f"/v1/rooms/{room}/members/{user}")).raise_for_status()

    async def say(self, room: str, user: str, texts: Sequence[str]) -> None:
        """Say all this as ``user``, in this order."""
        async with Client(self._cluster.url.replace("http", "ws", 1) + "/v1/ws", self._cluster.token(user)) as client:
            for text in texts:
                await client.send(room, text)

    async def texts(self, room: str) -> list[str]:
        """What is stored of a room, oldest first."""
        response = await self._http.get(f"/v1/rooms/{room}/messages", params={"limit": 100})
        return [message["text"] for message in response.raise_for_status().json()["messages"] if "text" in message]

    async def _put(self, path: str, body: dict[str, object]) -> None:
        (await self._http.put(path, json=body)).raise_for_status()
