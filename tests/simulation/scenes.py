"""Scenes: faults that have to meet to do harm, in the order in which they do."""

import random

from tests.simulation.plan import Action


def scene(chance: random.Random, nodes: int, people: int, rooms: int) -> list[Action]:
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


def overtaking(chance: random.Random, nodes: int, people: int, rooms: int) -> list[Action]:
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


def damaged(chance: random.Random, people: int, rooms: int) -> list[Action]:
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
