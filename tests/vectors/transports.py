"""Cases of the ladder of transports, each played through :class:`chatclient.ladder.Ladder`.

A step is an input at a time; the ladder's decision is added to it. Fields that a step does not have are null, and
``draw`` is 0 where it stands for nothing.
"""

from collections.abc import Sequence
from typing import Final

from chatclient.ladder import LADDER, Decision, End, Ladder, Transport

Step = dict[str, object]
WS, SSE, POLL = LADDER


def step(at: float, name: str, **more: object) -> Step:
    return {"at": at, "input": name, **more}


def start(at: float = 0, remembered: Transport | None = None, age_s: float = 0) -> Step:
    return step(at, "start", remembered=None if remembered is None else remembered.value, age_s=age_s)


def ended(at: float, draw: float = 0.5, **end: object) -> Step:
    return step(at, "ended", draw=draw, **end)


def probe_ended(at: float, **end: object) -> Step:
    return step(at, "probe_ended", **end)


def tick(at: float, draw: float = 0.5) -> Step:
    return step(at, "tick", draw=draw)


def welcome(at: float) -> Step:
    return step(at, "welcome")


def blocked(at: float = 0) -> list[Step]:
    """To the second rung: WebSocket fails twice."""
    return [start(at), ended(at + 0.125), tick(at + 0.625), ended(at + 0.75, status=502)]


def on_sse(at: float = 0) -> list[Step]:
    """Well on the second rung, a second after ``at``."""
    return [*blocked(at), welcome(at + 1)]


CASES: Final[Sequence[tuple[str, Sequence[Transport], list[Step]]]] = (
    ("WebSocket first, and nothing else where it works", LADDER, [start(), welcome(0.25)]),
    ("one failure is followed by the same transport, two by the next at once", LADDER, blocked()),
    (
        "after the last rung comes the first, with backoff",
        LADDER,
        [*blocked(), ended(1), tick(2), ended(2), ended(3), tick(5), ended(5), tick(9), ended(9), tick(17), ended(17)],
    ),
    (
        "backoff ends at 30 s",
        (WS,),
        [start(), *(each for n in range(7) for each in (ended(100.0 * n, 1.0), tick(100.0 * n + 50)))],
    ),
    ("no welcome in 10 s is a failure", LADDER, [start(), tick(9.5), tick(10), tick(10.5), tick(20.5)]),
    ("a single transport is never left", (SSE,), [start(), ended(1), tick(1.5), ended(2), tick(3), welcome(4)]),
    *(
        (
            f"{name} is an answer of a living server",
            LADDER,
            [start(), ended(1, **end), tick(60), ended(61, **end), tick(120), ended(121, **end), tick(180)],
        )
        for name, end in (
            ("401", {"status": 401}),
            ("403", {"status": 403}),
            ("429", {"status": 429}),
            ("429 with a time", {"status": 429, "retry_after": 7}),
            ("503 with a time", {"status": 503, "retry_after": 7}),
            ("a close code of the protocol", {"code": 4005}),
            ("a service restart", {"code": 1012}),
            ("an error frame", {"error": "unavailable", "retry_after": 2}),
        )
    ),
    *(
        (f"{name} is a failure", LADDER, [start(), ended(1, **end), tick(2), ended(3, **end)])
        for name, end in (
            ("503 without a time", {"status": 503}),
            ("404", {"status": 404}),
            ("500", {"status": 500}),
            ("a protocol error before the welcome", {"code": 1002}),
            ("a connection that breaks", {}),
        )
    ),
    (
        "three short connections one after the other: something cuts",
        LADDER,
        [start(), welcome(0), ended(5), tick(5.5), welcome(6), ended(11), tick(12), welcome(12), ended(17)],
    ),
    (
        "a connection that lasted is no sign, and backoff begins anew",
        LADDER,
        [
            *[start(), welcome(0), ended(5), tick(5.5), welcome(6), ended(11), tick(12), welcome(12), ended(22)],
            *[tick(22.5), welcome(23), ended(24), tick(25), welcome(25), ended(26)],
        ],
    ),
    (
        "short connections that the server ended are no sign",
        LADDER,
        [
            start(),
            *(each for n in range(4) for each in (welcome(60 * n), ended(60 * n + 1, code=4004), tick(60 * n + 50))),
        ],
    ),
    (
        "the server says when to connect again; until then everything works",
        LADDER,
        [start(), welcome(1), step(2, "reconnect", after_s=3), tick(4), tick(5), welcome(5.5)],
    ),
    (
        "a node that went before the time it named is not gone to earlier",
        LADDER,
        [
            start(),
            welcome(1),
            step(2, "reconnect", after_s=3),
            ended(3),
            step(4, "visible"),
            tick(5),
            ended(6),
            tick(6.5),
        ],
    ),
    (
        "Retry-After wins over backoff, and over whoever looks",
        LADDER,
        [start(), ended(1, status=503, retry_after=20), step(2, "visible"), step(3, "online"), tick(21)],
    ),
    (
        "while the device is offline nothing counts",
        LADDER,
        [start(), step(0, "offline"), ended(1), tick(1.5), ended(2), tick(4), tick(14), tick(20), step(21, "online")],
    ),
    (
        "online and visible try at once, once",
        LADDER,
        [
            start(),
            ended(0, 0.9375),
            step(0.5, "visible"),
            ended(0.5, status=429),
            step(1, "online"),
            ended(1, status=429),
        ],
    ),
    ("whoever is connected needs no trying", LADDER, [start(), welcome(1), step(2, "visible"), step(3, "online")]),
    (
        "WebSocket is probed after 60 s, then after twice the time",
        LADDER,
        [
            *on_sse(),
            *[tick(61), tick(71), tick(191), probe_ended(192), tick(432), probe_ended(433, status=502)],
            *[tick(913), probe_ended(914), tick(1514), probe_ended(1515), tick(2115)],
        ],
    ),
    (
        "a probe that is welcomed is the connection",
        LADDER,
        [*on_sse(), tick(61), step(62, "probe_welcome"), ended(100), tick(100.5), welcome(101)],
    ),
    (
        "a server that refuses a probe for now is asked again after the same time, or its own",
        LADDER,
        [
            *[*on_sse(), tick(61), probe_ended(62, status=503, retry_after=5), tick(122)],
            *[probe_ended(123, status=429, retry_after=90), tick(213)],
        ],
    ),
    (
        "what is cut soon after a switch is probed for later than before",
        LADDER,
        [
            *[*on_sse(), tick(61), step(62, "probe_welcome"), ended(65), tick(66), welcome(66), ended(67)],
            *[tick(69), welcome(69), ended(70), welcome(71), tick(191)],
        ],
    ),
    (
        "a probe ends with the connection that it runs beside",
        LADDER,
        [*on_sse(), tick(61), ended(62), step(62.25, "probe_welcome"), tick(63), welcome(64), tick(124)],
    ),
    (
        "a new network is probed at once",
        LADDER,
        [*on_sse(), step(30, "offline"), step(31, "online"), probe_ended(32), tick(152)],
    ),
    ("the transport that was open last is tried first", LADDER, [start(0, SSE, 599), welcome(1), tick(61)]),
    ("what was open ten minutes ago is forgotten", LADDER, [start(0, POLL, 600)]),
    ("a transport that is not on the ladder is not remembered", (WS, POLL), [start(0, SSE, 1)]),
    (
        "from the last rung too it is WebSocket that is probed",
        LADDER,
        [start(0, POLL, 1), welcome(1), tick(61), step(62, "probe_welcome")],
    ),
)


def transports() -> object:
    return [
        {"name": name, "transports": [each.value for each in ladder], "steps": _played(ladder, steps)}
        for name, ladder, steps in CASES
    ]


def _played(transports: Sequence[Transport], steps: list[Step]) -> list[Step]:
    ladder = Ladder(transports)
    return [{**each, "expect": _written(decide(ladder, each))} for each in steps]


def _written(decision: Decision) -> Step:
    return {"do": decision.do.value, "transport": decision.transport.value, "until": decision.until}


def decide(ladder: Ladder, each: Step) -> Decision:
    """The decision after one step."""
    now = _number(each["at"])
    draw = _number(each.get("draw", 0))
    match each["input"]:
        case "start":
            remembered = each["remembered"]
            known = None if remembered is None else Transport(remembered)
            return ladder.start(now, remembered=known, age_s=_number(each["age_s"]))
        case "welcome":
            return ladder.welcome(now)
        case "ended":
            return ladder.ended(now, _end(each), draw=draw)
        case "reconnect":
            return ladder.reconnect(now, _number(each["after_s"]))
        case "tick":
            return ladder.tick(now, draw=draw)
        case "offline":
            return ladder.offline()
        case "online":
            return ladder.online(now)
        case "visible":
            return ladder.visible(now)
        case "probe_welcome":
            return ladder.probe_welcome(now)
        case "probe_ended":
            return ladder.probe_ended(now, _end(each))
        case other:
            raise ValueError(f"no input of the ladder: {other}")


def _end(each: Step) -> End:
    fields = {name: each[name] for name in ("status", "code", "error", "retry_after") if name in each}
    return End(**fields)  # type: ignore[arg-type]


def _number(value: object) -> float:
    assert isinstance(value, int | float)
    return value
