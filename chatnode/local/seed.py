"""The demo training centre: rooms and conversations of ``demo.json``, made by the same requests as anybody's.

Rooms come by the platform's REST calls, messages by each person's own connection. Every message has a fixed command id
and says ``again``, so that a run which was interrupted can be repeated: nothing appears twice.
"""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit

import httpx
import msgspec
from msgspec import Struct

from chatclient import Client, ClientError
from chatnode.identity.demo_users import DEMO_USERS, DemoUser
from chatnode.local.children import ServerError
from chatnode.protocol.frames import Position

_DEADLINE_S: Final = 30.0
_FILE: Final = Path(__file__).with_name("demo.json")


class Line(Struct, frozen=True, forbid_unknown_fields=True):
    """One message; ``reply_to`` counts the lines of its conversation from 0."""

    by: str
    text: str
    reply_to: int | None = None
    mentions: tuple[str, ...] = ()
    reactions: dict[str, tuple[str, ...]] = {}


class Course(Struct, frozen=True, forbid_unknown_fields=True):
    room: str
    title: str
    people: tuple[str, ...]
    talk: tuple[Line, ...]


class Direct(Struct, frozen=True, forbid_unknown_fields=True):
    """A conversation of two; the first opens it."""

    people: tuple[str, str]
    talk: tuple[Line, ...]


class Demo(Struct, frozen=True, forbid_unknown_fields=True):
    courses: tuple[Course, ...]
    direct: tuple[Direct, ...]


class _Room(Struct):
    room: str


class Place(Protocol):
    """What seeding needs of a cluster."""

    @property
    def url(self) -> str: ...

    def token(self, user: str, *, name: str | None = None) -> str: ...

    def service_token(self) -> str: ...


def load_demo() -> Demo:
    return msgspec.json.decode(_FILE.read_bytes(), type=Demo)


async def furnish(place: Place, demo: Demo | None = None) -> None:
    """Make all rooms and say all lines that are not there yet; :class:`ServerError` names what was refused."""
    demo = demo or load_demo()
    people = {user.user: user for user in DEMO_USERS}
    async with contextlib.AsyncExitStack() as stack:
        http = await stack.enter_async_context(httpx.AsyncClient(base_url=place.url, timeout=_DEADLINE_S))
        try:
            talks = [(course.room, course.talk) for course in demo.courses]
            for course in demo.courses:
                await _put_course(http, place, course, people)
            talks += [(await _open_direct(http, place, direct, people), direct.talk) for direct in demo.direct]
            clients = {
                user: await stack.enter_async_context(_client(place, people[user]))
                for user in sorted({user for _, talk in talks for line in talk for user in _involved(line)})
            }
            for room, talk in talks:
                await _say(clients, room, talk)
        except (ClientError, httpx.HTTPError) as error:
            raise ServerError(f"the demo could not be made: {error}") from error


async def _put_course(http: httpx.AsyncClient, place: Place, course: Course, people: Mapping[str, DemoUser]) -> None:
    members = [{"user": user, "role": people[user].role, "name": people[user].name} for user in course.people]
    answer = await http.put(
        f"/v1/rooms/{course.room}",
        json={"kind": "course", "title": course.title, "members": members},
        headers={"authorization": f"Bearer {place.service_token()}"},
    )
    answer.raise_for_status()


async def _open_direct(http: httpx.AsyncClient, place: Place, direct: Direct, people: Mapping[str, DemoUser]) -> str:
    opener, other = direct.people
    token = place.token(opener, name=people[opener].name)
    answer = await http.post("/v1/direct", json={"user": other}, headers={"authorization": f"Bearer {token}"})
    answer.raise_for_status()
    return msgspec.json.decode(answer.content, type=_Room).room


def _client(place: Place, user: DemoUser) -> Client:
    socket = f"ws://{urlsplit(place.url).netloc}/v1/ws"
    return Client(socket, place.token(user.user, name=user.name), timeout=_DEADLINE_S)


def _involved(line: Line) -> set[str]:
    return {line.by}.union(*line.reactions.values())


async def _say(clients: Mapping[str, Client], room: str, talk: Sequence[Line]) -> None:
    said: list[Position] = []
    for number, line in enumerate(talk):
        ack = await clients[line.by].send(
            room,
            line.text,
            reply_to=None if line.reply_to is None else said[line.reply_to],
            mentions=line.mentions,
            command=f"demo-{room}-{number}",
            again=True,
        )
        said.append(ack.position)
    for number, line in enumerate(talk):
        for place, emoji in enumerate(line.reactions):
            for user in line.reactions[emoji]:
                await clients[user].react(
                    room, said[number], emoji, command=f"demo-{room}-{number}-{place}", again=True
                )
