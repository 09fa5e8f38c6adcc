"""What a deaf node does, step by step: clients are told, rooms stop, sockets stay for a while, and all is checked."""

import msgspec

from chatnode.protocol.errors import CloseCode
from chatnode.transports.hearing import Hearing


class Somebody:
    def __init__(self, *, following: bool = True) -> None:
        self.following = following
        self.told: list[bool] = []
        self.closed: CloseCode | None = None

    def send(self, payload: bytes) -> None:
        frame = msgspec.json.decode(payload)
        assert (frame["type"], frame["kind"]) == ("event", "delayed")
        self.told.append(frame["on"])

    def shut(self, code: CloseCode, reason: str) -> None:
        self.closed = code


class Rooms:
    def __init__(self) -> None:
        self.suspended = False
        self.level = True
        self.did: list[str] = []

    def suspend(self) -> None:
        self.suspended = True
        self.did.append("suspend")

    def resume(self) -> None:
        self.suspended = False
        self.did.append("resume")

    def verify_all(self) -> None:
        self.level = False
        self.did.append("verify")


class Node:
    """A clock of which nothing is heard while ``silent_since`` is set."""

    def __init__(self) -> None:
        self.now = 100.0
        self.silent_since: float | None = None
        self.stale = False
        self.rooms = Rooms()
        self.ana, self.idle = Somebody(), Somebody(following=False)
        self.hearing = Hearing(
            self.rooms,
            [self.ana, self.idle],
            silent_for=self.silent_for,
            suspended=lambda: self.stale or self.silent_for() > 5.0,
            suspend_after_s=5.0,
            keep_s=60.0,
        )

    def silent_for(self) -> float:
        return 0.5 if self.silent_since is None else self.now - self.silent_since

    def hears_nothing(self, seconds: float) -> None:
        self.silent_since = self.now
        self.go_on(seconds)

    def hears(self, seconds: float) -> None:
        self.silent_since = None
        self.go_on(seconds)

    def go_on(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now += 0.25
            self.stale = self.stale or self.silent_for() > 5.0
            self.hearing.step(self.now)


def test_a_short_silence_is_told_nobody() -> None:
    node = Node()
    node.hears_nothing(2.5)
    node.hears(5.0)
    assert (node.ana.told, node.rooms.did, node.hearing.delayed) == ([], [], False)


def test_who_follows_a_room_is_told_once_and_told_the_end_when_every_room_is_checked() -> None:
    node = Node()
    node.hears_nothing(4.0)
    assert (node.ana.told, node.idle.told, node.rooms.did) == ([True], [], [])
    node.hears(1.0)
    assert (node.ana.told, node.rooms.did) == ([True], ["verify"])
    node.rooms.level = True
    node.go_on(0.25)
    assert (node.ana.told, node.hearing.delayed) == ([True, False], False)


def test_a_long_silence_suspends_keeps_sockets_and_resumes_before_the_end_is_told() -> None:
    node = Node()
    node.hears_nothing(60.0)
    assert (node.ana.told, node.ana.closed, node.rooms.did) == ([True], None, ["suspend"])
    node.hears(1.0)
    assert (node.ana.told, node.rooms.did) == ([True], ["suspend"])
    node.stale = False
    node.go_on(0.5)
    assert (node.ana.told, node.rooms.did) == ([True], ["suspend", "resume", "verify"])
    node.rooms.level = True
    node.go_on(0.25)
    assert node.ana.told == [True, False]


def test_sockets_are_closed_when_it_lasts() -> None:
    node = Node()
    node.hears_nothing(66.0)
    assert node.ana.closed is CloseCode.UNAVAILABLE


def test_a_room_that_cannot_be_fetched_holds_the_word_up_for_a_while_and_no_longer() -> None:
    node = Node()
    node.hears_nothing(4.0)
    node.hears(9.0)
    assert node.ana.told == [True]
    node.go_on(2.0)
    assert node.ana.told == [True, False]


def test_deaf_again_while_rooms_are_checked_is_the_same_delay() -> None:
    node = Node()
    node.hears_nothing(4.0)
    node.hears(0.5)
    node.hears_nothing(4.0)
    node.hears(0.5)
    node.rooms.level = True
    node.go_on(0.25)
    assert node.ana.told == [True, False]
    assert node.rooms.did == ["verify", "verify"]
