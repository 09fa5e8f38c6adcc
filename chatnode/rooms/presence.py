"""Who is online, over all nodes. Pure: messages and times in, messages and changes out; nothing is stored.

Each node owns the presence of its own users and tells the others: a delta when it changes, a beat every 3 s, everything
when asked. A view whose version does not follow is asked for again; a node that is silent for 10 s is forgotten, so
that a dead node's users are gone within 15 s.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Final

import msgspec
from msgspec import Struct

BEAT_S: Final = 3.0
SILENCE_S: Final = 10.0
GRACE_S: Final = 3.0
"""A user who went is announced as offline only after this: a reconnect elsewhere is no departure."""


class _Gossip(Struct, frozen=True, tag_field="kind", kw_only=True):
    node: str
    life: str
    """Drawn when the node starts: a restarted node is another one."""
    version: int


class Delta(_Gossip, tag="delta", frozen=True, kw_only=True):
    """Takes the view from ``version - 1`` to ``version``."""

    online: tuple[str, ...] = ()
    offline: tuple[str, ...] = ()


class Beat(_Gossip, tag="beat", frozen=True, kw_only=True):
    pass


class Full(_Gossip, tag="full", frozen=True, kw_only=True):
    users: tuple[str, ...]


class Ask(_Gossip, tag="ask", frozen=True, kw_only=True):
    """``node`` asks ``whom`` for everything."""

    whom: str


class Bye(_Gossip, tag="bye", frozen=True, kw_only=True):
    pass


Gossip = Delta | Beat | Full | Ask | Bye

_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final[msgspec.json.Decoder[Gossip]] = msgspec.json.Decoder(Gossip)


def encode_gossip(message: Gossip) -> bytes:
    return _ENCODER.encode(message)


def decode_gossip(data: bytes) -> Gossip:
    return _DECODER.decode(data)


class _View:
    __slots__ = ("heard", "life", "users", "version")

    def __init__(self, life: str) -> None:
        self.life = life
        self.version = -1
        self.users: set[str] = set()
        self.heard = 0.0


class PresenceBook:
    def __init__(self, node: str, life: str) -> None:
        self._node = node
        self._life = life
        self._version = 0
        self._local: Counter[str] = Counter()
        self._views: dict[str, _View] = {}
        self._nodes: Counter[str] = Counter()
        """User → on how many nodes."""
        self._announced: set[str] = set()
        self._unsettled: dict[str, float] = {}
        self._joined: set[str] = set()
        self._left: set[str] = set()

    def online(self, user: str) -> bool:
        """As announced: somebody who has just gone still counts for a moment."""
        return user in self._announced or user in self._nodes

    def peers(self) -> dict[str, int]:
        """The other nodes that are heard, and how many people each says are connected to it."""
        return {node: len(view.users) for node, view in self._views.items()}

    def came(self, user: str, now: float) -> None:
        """A connection of this node's."""
        self._local[user] += 1
        if self._local[user] == 1:
            self._left.discard(user)
            self._joined.add(user)
            self._count(user, 1, now)

    def went(self, user: str, now: float) -> None:
        self._local[user] -= 1
        if self._local[user] <= 0:
            del self._local[user]
            self._joined.discard(user)
            self._left.add(user)
            self._count(user, -1, now)

    def delta(self) -> Delta | None:
        """What has changed here since the last call, for the others."""
        if not self._joined and not self._left:
            return None
        self._version += 1
        online, offline = tuple(sorted(self._joined)), tuple(sorted(self._left))
        self._joined, self._left = set(), set()
        return Delta(node=self._node, life=self._life, version=self._version, online=online, offline=offline)

    def beat(self) -> Beat:
        return Beat(node=self._node, life=self._life, version=self._version)

    def bye(self) -> Bye:
        return Bye(node=self._node, life=self._life, version=self._version)

    def hear(self, message: Gossip, now: float) -> Gossip | None:
        """A message of another node; returns what to answer."""
        if message.node == self._node:
            return None
        if isinstance(message, Ask):
            return self._full() if message.whom == self._node else None
        if isinstance(message, Bye):
            self._forget(message.node, now)
            return None
        view = self._views.get(message.node)
        if view is None or view.life != message.life:
            self._forget(message.node, now)
            view = self._views[message.node] = _View(message.life)
        view.heard = now
        if isinstance(message, Full):
            if message.version >= view.version:
                self._become(view, set(message.users), message.version, now)
            return None
        if isinstance(message, Delta) and message.version == view.version + 1 and view.version >= 0:
            users = (view.users | set(message.online)) - set(message.offline)
            self._become(view, users, message.version, now)
            return None
        if message.version == view.version:
            return None
        return Ask(node=self._node, life=self._life, version=self._version, whom=message.node)

    def expire(self, now: float) -> None:
        """Forget nodes that are silent."""
        for node in [node for node, view in self._views.items() if now - view.heard > SILENCE_S]:
            self._forget(node, now)

    def changes(self, now: float) -> tuple[list[str], list[str]]:
        """Who came and who went since the last call, as it is to be announced."""
        online: list[str] = []
        offline: list[str] = []
        for user, since in tuple(self._unsettled.items()):
            here = user in self._nodes
            if not here and now - since < GRACE_S and user in self._announced:
                continue
            del self._unsettled[user]
            if here and user not in self._announced:
                self._announced.add(user)
                online.append(user)
            elif not here and user in self._announced:
                self._announced.discard(user)
                offline.append(user)
        return online, offline

    def _full(self) -> Full:
        users = (set(self._local) | self._left) - self._joined
        return Full(node=self._node, life=self._life, version=self._version, users=tuple(sorted(users)))

    def _become(self, view: _View, users: set[str], version: int, now: float) -> None:
        self._count_all(users - view.users, 1, now)
        self._count_all(view.users - users, -1, now)
        view.users = users
        view.version = version

    def _forget(self, node: str, now: float) -> None:
        view = self._views.pop(node, None)
        if view is not None:
            self._count_all(view.users, -1, now)

    def _count_all(self, users: Iterable[str], by: int, now: float) -> None:
        for user in users:
            self._count(user, by, now)

    def _count(self, user: str, by: int, now: float) -> None:
        self._nodes[user] += by
        if self._nodes[user] <= 0:
            del self._nodes[user]
        self._unsettled[user] = now
