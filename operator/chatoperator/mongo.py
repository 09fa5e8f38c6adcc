"""Talking to the members of a managed MongoDB: asking how they are, and doing the one step that was decided.

The operator comes in as ``__system`` with the keyfile that the members know each other by, because it has to get in
before there is any user. It does nothing but what the steps in ``plan.mongodb`` say.
"""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from tempfile import NamedTemporaryFile
from typing import Final
from urllib.parse import quote

from msgspec import Struct
from pymongo import AsyncMongoClient
from pymongo.errors import OperationFailure, PyMongoError

from chatoperator.objects import Json, items, mapping, number, text
from chatoperator.plan.access import MONGODB_KEYFILE, REPLICA_SET
from chatoperator.plan.mongodb import Initiate, Member, MongoStep, MongoView, PutUsers, Reconfigure
from chatoperator.plan.naming import MONGODB_PORT

_DEADLINE_S: Final = 4.0
_HEALTHY: Final = frozenset({1, 2})
"""Member states PRIMARY and SECONDARY."""
_NOT_INITIATED: Final = 94
_ALREADY: Final = frozenset({23, 103})
"""Already initialized; a newer configuration is known."""
ELECTION_TIMEOUT_MS: Final = 5_000
"""Of sets that are initiated here; MongoDB's own is 10 s. Resends wait for a primary, and writes have to resume within
10 s of its death."""
_NODE_ROLE: Final = "chatNode"
_CHANGED_BY_NODES: Final = ("receipts",)
"""Collections that nodes write; everything else they only read."""

Document = dict[str, object]
_Client = AsyncMongoClient[Document]


class MongoRefused(Exception):
    """A member did not do what was asked; tried again at the next visit."""


class Entry(Struct, frozen=True):
    """What gets us in."""

    credentials: Mapping[str, str]
    trust: str = ""
    """Authorities that the members are checked against, PEM; empty: no TLS."""

    @contextmanager
    def trust_file(self) -> Iterator[str]:
        """The driver takes authorities from a file alone, which it reads when a client is made."""
        if not self.trust:
            yield ""
            return
        with NamedTemporaryFile("w", suffix=".crt", encoding="ascii") as file:
            file.write(self.trust)
            file.flush()
            yield file.name


async def reload(hosts: Sequence[str], entry: Entry) -> None:
    """Have members read their certificates again; open connections stay. Raises :class:`MongoRefused`."""
    try:
        for host in hosts:
            async with _member(host, entry) as client:
                await client.admin.command({"rotateCertificates": 1})
    except PyMongoError as error:
        raise MongoRefused(str(error).partition(", Topology")[0]) from error


async def look(hosts: Sequence[str], entry: Entry, database: str, known: Sequence[Member] = ()) -> MongoView:
    """Ask every member at once. Never raises: who does not answer is simply not among those that do."""
    wanted = dict.fromkeys((*hosts, *(member.host for member in known)))
    answers = await asyncio.gather(*(_ask(host, entry) for host in wanted))
    views = [view for view in answers if isinstance(view, _Answer)]
    answering = tuple(view.host for view in views)
    silence = next((words for words in answers if isinstance(words, str)), "")
    primary = next((view for view in views if view.primary), None)
    best = primary or next((view for view in views if view.members), None)
    if best is None:
        return MongoView(answering=answering, silence=silence)
    users = primary is not None and await _users_current(primary.host, entry, database)
    return MongoView(
        answering=answering,
        initiated=True,
        primary=primary.host if primary else "",
        members=best.members,
        healthy=primary.healthy if primary else (),
        users=users,
        silence=silence,
    )


async def perform(step: MongoStep, view: MongoView, entry: Entry, database: str) -> None:
    """Raises :class:`MongoRefused`."""
    try:
        match step:
            case Initiate(members):
                async with _member(members[0].host, entry) as client:
                    await client.admin.command({"replSetInitiate": _configuration(members, 1)})
            case Reconfigure(members, force):
                host = view.primary or members[0].host
                async with _member(host, entry) as client:
                    held = mapping(_json(await client.admin.command({"replSetGetConfig": 1})), "config")
                    changed = {**held, "version": number(held, "version") + 1, "members": _kept(held, members)}
                    await client.admin.command({"replSetReconfig": changed, "force": force})
            case PutUsers():
                async with _member(view.primary, entry) as client:
                    await _put_users(client, entry.credentials, database)
    except OperationFailure as error:
        if error.code not in _ALREADY:
            raise MongoRefused(str(error)) from error
    except PyMongoError as error:
        raise MongoRefused(str(error).partition(", Topology")[0]) from error


class _Answer:
    """What one member said."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.primary = False
        self.members: tuple[Member, ...] = ()
        self.healthy: tuple[str, ...] = ()


@asynccontextmanager
async def _member(host: str, entry: Entry) -> AsyncIterator[_Client]:
    with entry.trust_file() as trust:
        client: _Client = AsyncMongoClient(
            f"mongodb://{host}/?directConnection=true" + (f"&tls=true&tlsCAFile={quote(trust)}" if trust else ""),
            username="__system",
            password="".join(entry.credentials[MONGODB_KEYFILE].split()),
            authSource="local",
            authMechanism="SCRAM-SHA-256",
            appname="chat-operator",
            serverSelectionTimeoutMS=round(_DEADLINE_S * 1000),
            connectTimeoutMS=round(_DEADLINE_S * 1000),
            socketTimeoutMS=10_000,
            maxPoolSize=1,
        )
    try:
        yield client
    finally:
        await client.close()


async def _ask(host: str, entry: Entry) -> _Answer | str:
    """What it says, or in words what kept it from saying so."""
    answer = _Answer(host)
    try:
        async with asyncio.timeout(_DEADLINE_S * 2), _member(host, entry) as client:
            hello = await client.admin.command({"hello": 1})
            answer.primary = hello.get("isWritablePrimary") is True
            try:
                config = _json(await client.admin.command({"replSetGetConfig": 1}))
            except OperationFailure as error:
                if error.code != _NOT_INITIATED:
                    raise
                return answer
            answer.members = tuple(
                Member(number(each, "_id"), text(each, "host")) for each in items(config, "config", "members")
            )
            if answer.primary:
                status = _json(await client.admin.command({"replSetGetStatus": 1}))
                answer.healthy = tuple(
                    text(each, "name") for each in items(status, "members") if number(each, "state") in _HEALTHY
                )
    except OperationFailure as error:
        return f"{host} refuses: {_plainly(error)}"
    except (PyMongoError, TimeoutError, OSError) as error:
        return f"{host} is not reached: {_plainly(error)}"
    return answer


def _plainly(error: Exception) -> str:
    """Without timeouts and topologies, which differ from one time to the next."""
    words = re.split(r" \(configured timeouts|, Timeout: |, Topology|, full error", str(error), maxsplit=1)[0]
    return words.rpartition(f"{MONGODB_PORT}: ")[2] or "no answer in time"


def _configuration(members: Sequence[Member], version: int) -> Document:
    return {
        "_id": REPLICA_SET,
        "version": version,
        "members": [{"_id": member.id, "host": member.host} for member in members],
        "settings": {"electionTimeoutMillis": ELECTION_TIMEOUT_MS},
    }


def _kept(held: Json, members: Sequence[Member]) -> list[Document]:
    """The members' documents as they are, and plain ones for those that are new."""
    documents = {text(each, "host"): dict(mapping(each)) for each in items(held, "members")}
    return [{"_id": member.id, "host": member.host, **documents.get(member.host, {})} for member in members]


def _json(document: Mapping[str, object]) -> Json:
    """A reply as it is walked through by the functions for objects."""
    return document  # type: ignore[return-value]  # BSON's plain values are JSON's; others are not looked at


def _digest(password: str) -> str:
    """Tells whether a user has the password that is wanted, without telling it."""
    return hashlib.sha256(f"chat-operator:{password}".encode()).hexdigest()[:16]


async def _users_current(host: str, entry: Entry, database: str) -> bool:
    try:
        async with asyncio.timeout(_DEADLINE_S * 2), _member(host, entry) as client:
            found = _json(await client[database].command({"usersInfo": 1}))
    except (PyMongoError, TimeoutError, OSError):
        return False
    held = {text(user, "user"): text(user, "customData", "password") for user in items(found, "users")}
    return all(held.get(role) == _digest(entry.credentials[f"mongodb-{role}"]) for role in ("node", "worker"))


async def _put_users(client: _Client, credentials: Mapping[str, str], database: str) -> None:
    """Nodes read everything and write receipts; workers read and write everything and keep the schema."""
    base = client[database]
    privileges = [
        {"resource": {"db": database, "collection": ""}, "actions": ["find", "listCollections", "listIndexes"]},
        *(
            {"resource": {"db": database, "collection": name}, "actions": ["find", "insert", "update"]}
            for name in _CHANGED_BY_NODES
        ),
    ]
    roles = _json(await base.command({"rolesInfo": _NODE_ROLE}))
    verb = "updateRole" if items(roles, "roles") else "createRole"
    await base.command({verb: _NODE_ROLE, "privileges": privileges, "roles": []})
    found = _json(await base.command({"usersInfo": 1}))
    present = {text(user, "user") for user in items(found, "users")}
    for user, granted in (("node", [_NODE_ROLE]), ("worker", ["readWrite", "dbAdmin"])):
        password = credentials[f"mongodb-{user}"]
        await base.command(
            {
                "updateUser" if user in present else "createUser": user,
                "pwd": password,
                "roles": granted,
                "customData": {"password": _digest(password)},
            }
        )
