"""What happens in one history: an explicit list of commands and faults, drawn from a seed, so that it can be cut."""

import random
from collections.abc import Sequence
from typing import Final

from msgspec import Struct


class Action(Struct, frozen=True, omit_defaults=True):
    """``who`` numbers a client, node, server or worker; ``what`` a room, a target or a count."""

    at: float
    kind: str
    who: int = 0
    what: int = 0
    seconds: float = 0.0


class Plan(Struct, frozen=True, omit_defaults=True):
    """``seed`` decides everything that is not said here: latencies, order of arrivals, jitter."""

    seed: int
    nodes: int = 2
    people: int = 3
    users: int = 3
    rooms: int = 1
    workers: int = 1
    window: float = 8.0
    """Seconds for which a message id is known; events stored later than half of it after they were sent are late."""
    together: bool = False
    """All rooms are in one partition."""
    full: bool = False
    """Nodes run everything that they run: control, presence, receipts."""
    actions: tuple[Action, ...] = ()


COMMANDS: Final = ("send", "send", "send", "send", "burst", "burst", "edit", "delete", "react", "look")
FAULTS: Final = (
    "elect", "elect", "elect",
    "lose_live", "lose_live",
    "lose_acks", "lose_acks",
    "stall", "stall", "stall",
    "pause_server", "pause_server",
    "freeze_server",
    "short_answers",
    "slow_interest",
    "cut_node",
    "refuse_batches",
    "full",
    "deaf",
    "kill_node", "kill_node",
    "pause_node", "pause_at_look_up",
    "drop", "drop", "drop",
    "offline", "half_open",
    "crash_client", "crash_client",
    "kill_worker", "pause_worker", "pause_worker",
    "mongo_away", "mongo_unsure",
    "subscribe",
)  # fmt: skip
_MORE: Final = 0.02
"""How many plans get another scene besides."""
_DAMAGED: Final = 0.02
"""How many have a damaged disk besides."""
RARE: Final = ("lose_stream", "go_back", "purge", "revoke", "revoke")


def draw_plan(seed: int) -> Plan:
    """The plan of a seed; the same one for ever."""
    chance = random.Random(seed)
    nodes = chance.choice((2, 2, 2, 2, 3))
    people = chance.choice((2, 2, 2, 3, 3))
    users = people if chance.random() < 0.8 else people - 1
    rooms = chance.choice((1, 1, 1, 1, 2))
    length = chance.choice((1.0, 2.0, 4.0, 8.0))
    actions = [_command(chance, people, rooms, length) for _ in range(chance.randint(3, 9))]
    if chance.random() < 0.3:
        actions.extend(_scene(chance, nodes, people, rooms))
    else:
        names = [chance.choice(FAULTS) for _ in range(chance.choice((0, 1, 1, 2, 2, 3, 4)))]
        if chance.random() < 0.1:
            names = [*names[:2], chance.choice(RARE)]
        actions.extend(_fault(chance, name, nodes, people, rooms, length) for name in names)
    if chance.random() < _MORE:
        actions.extend(_more(chance, nodes, people, rooms))
    if chance.random() < _DAMAGED:
        actions.extend(_damaged(chance, people, rooms))
    kinds = {action.kind for action in actions}
    return Plan(
        seed=seed,
        nodes=nodes,
        people=people,
        users=users,
        rooms=2 if "purge" in kinds else rooms,
        together="purge" in kinds or chance.random() < 0.5,
        workers=2 if kinds & {"kill_worker", "pause_worker"} else 1,
        full=bool(kinds & {"lose_stream", "go_back", "revoke"}),
        actions=tuple(sorted(actions, key=lambda action: action.at)),
    )


def _scene(chance: random.Random, nodes: int, people: int, rooms: int) -> list[Action]:
    """Faults that have to meet to do harm, in the order in which they do."""
    draw = chance.uniform
    who, other, node = chance.randrange(people), chance.randrange(people), chance.randrange(nodes)
    at = draw(0.4, 2.0)

    def act(after: float, kind: str, who: int = 0, what: int = 0, seconds: float = 0.0) -> Action:
        return Action(round(at + after, 3), kind, who, what, round(seconds, 3))

    match chance.choice(
        ("copy", "copy", "copied edit", "stopped", "behind", "election", "epoch", "back", "purge", "lone", "again")
    ):
        case "copy":
            return [
                act(0.0, "stall", node, seconds=draw(12.0, 25.0)),
                *(act(draw(0.0, 0.5), "burst", who, 10 * chance.randint(1, 3)) for _ in range(2)),
                act(draw(8.0, 12.0), "send", other),
                act(draw(12.0, 26.0), chance.choice(("crash_client", "subscribe", "drop")), chance.randrange(people)),
                act(27.0, "look", other),
            ]
        case "copied edit":
            target = 10 * chance.randrange(3)
            return [
                act(0.0, "send", who),
                act(0.5, "stall", node, seconds=draw(14.0, 25.0)),
                act(0.6, "edit", who, target),
                act(draw(9.0, 12.0), "edit", who, target),
                act(draw(12.0, 14.0), "pause_worker", seconds=16.0),
                act(draw(15.0, 27.0), "look", other),
                act(draw(15.0, 27.0), "subscribe", other),
            ]
        case "stopped":
            return [
                act(0.0, "full", seconds=draw(0.2, 0.5)),
                act(0.05, "pause_at_look_up", node, seconds=draw(13.0, 20.0)),
                act(0.1, "send", who),
                act(draw(1.6, 3.0), "half_open", who, seconds=60.0),
                act(draw(6.0, 12.0), "crash_client", other),
                act(21.0, "look", other),
            ]
        case "behind":
            return [
                act(0.0, "lose_live", what=chance.randint(1, 2)),
                act(0.1, "send", who),
                act(draw(0.3, 3.0), "subscribe", other),
                act(draw(0.3, 3.0), "crash_client", other),
            ]
        case "election":
            return [
                act(2.5, "elect", seconds=draw(0.05, 0.5)),
                act(draw(2.49, 2.55), "burst", who, 20),
                act(draw(2.5, 2.8), "send", other),
            ]
        case "epoch":
            return [
                act(0.0, "offline", who, seconds=draw(6.0, 12.0)),
                act(draw(0.1, 0.4), "burst", other, 10 * chance.randint(1, 3)),
                act(draw(1.0, 2.0), "lose_stream"),
                act(draw(5.0, 6.0), "send", other),
            ]
        case "back":
            return [
                act(0.0, "burst", other, 30),
                act(0.5, "offline", who, seconds=draw(1.0, 3.0)),
                act(0.6, "kill_worker", seconds=draw(3.0, 8.0)),
                act(1.0, "go_back", what=10 * chance.randint(0, 3)),
                *(act(1.05, "kill_node", each, seconds=0.3) for each in range(nodes)),
                act(draw(1.8, 2.5), "burst", other, 30),
            ]
        case "purge":
            return [
                act(0.0, "purge"),
                act(0.1, "send", who, 0),
                act(0.3, "send", other, 1),
                act(draw(1.0, 30.0), "offline", who, seconds=draw(1.0, 40.0)),
                act(36.0, "send", other, chance.randrange(2)),
                act(36.5, "send", who, chance.randrange(2)),
                act(37.0, "look", other, chance.randrange(2)),
            ]
        case "again":
            return [
                act(0.0, "revoke", who),
                act(draw(0.5, 3.0), "readmit", who),
                act(3.5, "send", who),
                act(4.0, "send", other),
            ]
        case "lone":
            return [
                act(0.0, "slow_interest", seconds=1.0),
                act(0.05, "subscribe", who),
                act(0.1, "drop", other),
                act(draw(0.1, 0.8), "send", who),
            ]


def _more(chance: random.Random, nodes: int, people: int, rooms: int) -> list[Action]:
    """A scene in which what is told over one way overtakes what is told over another."""
    draw = chance.uniform
    who, other = chance.sample(range(people), 2)
    at = draw(0.4, 2.0)

    def act(after: float, kind: str, who: int = 0, what: int = 0, seconds: float = 0.0) -> Action:
        return Action(round(at + after, 3), kind, who, what, round(seconds, 3))

    if chance.random() < 0.5:
        room = chance.randrange(rooms)
        return [
            act(0.0, "slow_routes", seconds=4.0),
            *(act(draw(0.0, 3.0), "burst", other, room + 10 * chance.randint(1, 3)) for _ in range(2)),
            *(act(draw(0.0, 3.0), chance.choice(("crash_client", "subscribe")), who, room) for _ in range(3)),
        ]
    return [
        act(0.0, "burst", other, 30),
        act(0.5, "online_at_raise", who, seconds=draw(0.0, 0.025)),
        *(act(0.6, "kill_node", each, seconds=0.3) for each in range(nodes)),
        act(2.45, "pause_worker", seconds=1.5),
        act(2.5, "go_back", what=10 * chance.randint(0, 1)),
        act(draw(9.0, 12.0), "send", who),
        act(draw(9.0, 12.0), "send", other),
    ]


def _damaged(chance: random.Random, people: int, rooms: int) -> list[Action]:
    """One server has lost some of what was just said, when people come back to it, or while the worker is behind."""
    draw = chance.uniform
    who, other = chance.sample(range(people), 2)
    room = chance.randrange(rooms)
    at = draw(0.4, 2.0)

    def act(after: float, kind: str, who: int = 0, what: int = 0, seconds: float = 0.0) -> Action:
        return Action(round(at + after, 3), kind, who, what, round(seconds, 3))

    away = draw(2.0, 6.0)
    return [
        act(0.0, "offline", who, seconds=away),
        *([act(0.1, "pause_worker", seconds=draw(3.0, 9.0))] if chance.random() < 0.5 else ()),
        act(draw(0.1, 1.0), "burst", other, room + 10 * chance.randint(1, 4)),
        act(draw(1.0, away), "damage", chance.randrange(3), room + 10 * chance.randint(1, 4)),
        act(draw(0.0, away + 1.0), chance.choice(("lose_live", "deaf", "drop", "crash_client", "subscribe", "elect")),
            chance.randrange(people), 2, seconds=draw(0.1, 1.0)),
        act(away + draw(0.5, 2.0), chance.choice(("look", "crash_client", "subscribe")), other, room),
    ]  # fmt: skip


def _when(chance: random.Random, length: float) -> float:
    return round(0.3 + chance.random() * length, 3)


def _command(chance: random.Random, people: int, rooms: int, length: float) -> Action:
    kind = chance.choice(COMMANDS)
    what = chance.randrange(rooms)
    if kind == "burst":
        what += 10 * chance.randint(2, 4)
    elif kind in ("edit", "delete", "react"):
        what += 10 * chance.randrange(8)
    return Action(_when(chance, length), kind, chance.randrange(people), what)


def _fault(chance: random.Random, name: str, nodes: int, people: int, rooms: int, length: float) -> Action:  # noqa: PLR0912  a table
    at = _when(chance, length)
    draw = chance.uniform
    match name:
        case "elect":
            return Action(at, name, what=chance.randrange(rooms), seconds=round(draw(0.01, 1.5), 3))
        case "lose_live" | "lose_acks":
            return Action(at, name, what=chance.randint(1, 3))
        case "stall":
            return Action(at, name, chance.randrange(nodes), seconds=round(draw(2.0, 25.0), 3))
        case "pause_server":
            return Action(at, name, chance.randrange(3), seconds=round(chance.choice((draw(0.5, 5), draw(5, 30))), 3))
        case "freeze_server":
            return Action(at, name, chance.randrange(3), seconds=round(draw(0.2, 2.5), 3))
        case "short_answers" | "slow_interest" | "refuse_batches" | "full" | "mongo_away":
            return Action(at, name, seconds=round(draw(0.2, 4.0), 3))
        case "pause_at_look_up":
            return Action(at, name, chance.randrange(nodes), seconds=round(draw(5.0, 30.0), 3))
        case "cut_node" | "deaf" | "pause_node":
            return Action(at, name, chance.randrange(nodes), seconds=round(draw(0.1, 8.0), 3))
        case "kill_node":
            return Action(at, name, chance.randrange(nodes), seconds=round(draw(0.5, 5.0), 3))
        case "drop" | "crash_client" | "subscribe":
            return Action(at, name, chance.randrange(people), chance.randrange(rooms))
        case "half_open":
            return Action(at, name, chance.randrange(people), seconds=round(draw(5.0, 60.0), 3))
        case "offline":
            return Action(at, name, chance.randrange(people), seconds=round(draw(1.0, 30.0), 3))
        case "kill_worker":
            return Action(at, name, 0, seconds=round(draw(0.5, 20.0), 3))
        case "pause_worker":
            return Action(at, name, 0, seconds=round(chance.choice((draw(0.5, 5.0), draw(15.0, 25.0))), 3))
        case "mongo_unsure":
            return Action(at, name, what=chance.randint(1, 2))
        case "lose_stream" | "go_back" | "purge":
            return Action(at, name, what=chance.randrange(rooms) + 10 * chance.randint(0, 4))
        case "revoke":
            return Action(at, name, chance.randrange(people), chance.randrange(rooms))
    raise ValueError(name)


def shorter(actions: Sequence[Action], drop: Sequence[int]) -> tuple[Action, ...]:
    gone = set(drop)
    return tuple(action for index, action in enumerate(actions) if index not in gone)
