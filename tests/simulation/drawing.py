"""The plan of a seed: commands and faults at random, or a scene."""

import random
from typing import Final

from tests.simulation.meetings import MEETINGS, NEED_CONTROL, Meeting
from tests.simulation.plan import COMMANDS, Action, Plan
from tests.simulation.scenes import damaged, overtaking, scene

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


_MEETINGS: Final = 0.08
"""How many plans are a meeting, and a few commands."""


def draw_plan(seed: int) -> Plan:
    """The plan of a seed."""
    chance = random.Random(f"meeting {seed}")
    return _meeting(seed, chance) if chance.random() < _MEETINGS else _at_random(seed, random.Random(seed))


def _meeting(seed: int, chance: random.Random) -> Plan:
    nodes = chance.choice((2, 2, 3))
    people = chance.choice((2, 3))
    meeting = chance.choice(MEETINGS)
    actions = meeting(Meeting(chance, nodes, people))
    actions.extend(_command(chance, people, 1, actions[-1].at) for _ in range(chance.randint(0, 3)))
    return _plan(seed, nodes, people, people, 1, actions, together=True, full=meeting in NEED_CONTROL)


def _at_random(seed: int, chance: random.Random) -> Plan:
    nodes = chance.choice((2, 2, 2, 2, 3))
    people = chance.choice((2, 2, 2, 3, 3))
    users = people if chance.random() < 0.8 else people - 1
    rooms = chance.choice((1, 1, 1, 1, 2))
    length = chance.choice((1.0, 2.0, 4.0, 8.0))
    actions = [_command(chance, people, rooms, length) for _ in range(chance.randint(3, 9))]
    if chance.random() < 0.3:
        actions.extend(scene(chance, nodes, people, rooms))
    else:
        names = [chance.choice(FAULTS) for _ in range(chance.choice((0, 1, 1, 2, 2, 3, 4)))]
        if chance.random() < 0.1:
            names = [*names[:2], chance.choice(RARE)]
        actions.extend(_fault(chance, name, nodes, people, rooms, length) for name in names)
    if chance.random() < _MORE:
        actions.extend(overtaking(chance, nodes, people, rooms))
    if chance.random() < _DAMAGED:
        actions.extend(damaged(chance, people, rooms))
    purges = any(action.kind == "purge" for action in actions)
    together = purges or chance.random() < 0.5
    return _plan(seed, nodes, people, users, 2 if purges else rooms, actions, together=together, full=False)


def _plan(
    seed: int, nodes: int, people: int, users: int, rooms: int, actions: list[Action], *, together: bool, full: bool
) -> Plan:
    kinds = {action.kind for action in actions}
    return Plan(
        seed=seed,
        nodes=nodes,
        people=people,
        users=users,
        rooms=rooms,
        together=together,
        workers=2 if kinds & {"kill_worker", "pause_worker"} else 1,
        full=full or bool(kinds & {"lose_stream", "go_back", "revoke"}),
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
