"""A client's machine on a clock, for the tests that tell it what happens and look at what it says."""

import itertools
import json

from chatclient.machine import Machine, Timing
from chatclient.outputs import Dial, Output, Write
from chatnode.protocol.codec import encode_frame
from chatnode.protocol.frames import Limits, Send, Welcome

NOW = 100.0


class Bench:
    """A machine with everything that it said, frames decoded."""

    def __init__(self, *, renewable: bool = False, draw: float = 0.5) -> None:
        numbers = itertools.count(1)
        self.machine = Machine(
            Timing(), ids=lambda: f"i{next(numbers)}", draw=lambda: draw, wall=lambda: 1_000.0, renewable=renewable
        )
        self.now = NOW

    def said(self) -> list[Output]:
        return self.machine.outputs()

    def frames(self) -> list[dict[str, object]]:
        return [json.loads(output.data) for output in self.said() if isinstance(output, Write)]

    def hears(self, **fields: object) -> None:
        self.machine.received(self.now, json.dumps(fields))

    def at(self, seconds: float) -> None:
        self.now = NOW + seconds
        while self.machine.deadline is not None and self.machine.deadline <= self.now:
            self.machine.tick(self.now)

    def welcome(self, expires_at: int = 2_000_000) -> None:
        (connect,) = self.frames()
        self.machine.received(self.now, welcome_to(str(connect["id"]), expires_at))


def welcome_to(connect: str, expires_at: int = 2_000_000) -> bytes:
    welcome = Welcome(
        id=connect,
        user="ana",
        name="Ana",
        node="n",
        session="s",
        version="0",
        heartbeat_ms=25_000,
        expires_at=expires_at,
        limits=Limits(),
    )
    return encode_frame(welcome)


def opened(**options: bool | float) -> Bench:
    bench = Bench(**options)
    bench.machine.start(NOW)
    assert bench.said() == [Dial()]
    bench.machine.opened(bench.now, "token-1")
    return bench


def ready(**options: bool | float) -> Bench:
    bench = opened(**options)
    bench.welcome()
    bench.said()
    return bench


def send(command: str, room: str = "r") -> Send:
    return Send(id=command, room=room, text="x")


def ack_of(command: str) -> dict[str, object]:
    return {"type": "ack", "id": command, "room": "r", "epoch": 1, "seq": 1, "ts": 1}
