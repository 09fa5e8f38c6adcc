"""What happens in one history: an explicit list of commands and faults, drawn from a seed, so that it can be cut."""

import random
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

ROOMS: Final = ("r3", "r7")
"""Names are filled in by :mod:`tests.simulation.world`: the partition is what counts."""


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
    window: float = 15.0
    """Seconds for which a message id is known; events stored later than half of it after they were sent are late."""
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
    "pause_node",
    "drop", "drop", "drop",
    "offline",
    "crash_client", "crash_client",
    "kill_worker", "pause_worker", "pause_worker",
    "mongo_away", "mongo_unsure",
    "subscribe",
)  # fmt: skip
RARE: Final = ("lose_stream", "go_back", "purge", "revoke", "revoke")


def draw_plan(seed: int) -> Plan:
    """The plan of a seed; the same one for ever."""
    chance = random.Random(seed)
    nodes = chance.choice((2, 2, 2, 3))
    people = chance.choice((2, 2, 3, 3, 4))
    users = people if chance.random() < 0.8 else people - 1
    rooms = chance.choice((1, 1, 1, 2))
    length = chance.choice((2.0, 4.0, 4.0, 8.0))
    actions: list[Action] = []
    for _ in range(chance.randint(4, 12)):
        actions.append(_command(chance, people, rooms, length))
    rare = chance.random() < 0.12
    names = [chance.choice(FAULTS) for _ in range(chance.choice((0, 1, 1, 2, 2, 3, 4)))]
    if rare:
        names = [*names[:2], chance.choice(RARE)]
    for name in names:
        actions.append(_fault(chance, name, nodes, people, rooms, length))
    workers = 2 if any(name in ("kill_worker", "pause_worker") for name in names) else 1
    full = any(name in ("lose_stream", "go_back", "revoke") for name in names)
    return Plan(
        seed=seed,
        nodes=nodes,
        people=people,
        users=users,
        rooms=rooms,
        workers=workers,
        full=full,
        actions=tuple(sorted(actions, key=lambda action: action.at)),
    )


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


def _fault(chance: random.Random, name: str, nodes: int, people: int, rooms: int, length: float) -> Action:
    at = _when(chance, length)
    draw = chance.uniform
    match name:
        case "elect":
            return Action(at, name, what=chance.randrange(rooms), seconds=round(draw(0.01, 1.5), 3))
        case "lose_live" | "lose_acks":
            return Action(at, name, what=chance.randint(1, 3))
        case "stall":
            return Action(at, name, chance.randrange(nodes), seconds=round(draw(2.0, 40.0), 3))
        case "pause_server":
            return Action(at, name, chance.randrange(3), seconds=round(chance.choice((draw(0.5, 5), draw(5, 30))), 3))
        case "freeze_server":
            return Action(at, name, chance.randrange(3), seconds=round(draw(0.2, 2.5), 3))
        case "short_answers" | "slow_interest" | "refuse_batches" | "full" | "mongo_away":
            return Action(at, name, seconds=round(draw(0.2, 4.0), 3))
        case "cut_node" | "deaf" | "pause_node":
            return Action(at, name, chance.randrange(nodes), seconds=round(draw(0.1, 8.0), 3))
        case "kill_node":
            return Action(at, name, chance.randrange(nodes), seconds=round(draw(0.5, 5.0), 3))
        case "drop" | "crash_client" | "subscribe":
            return Action(at, name, chance.randrange(people), chance.randrange(rooms))
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
