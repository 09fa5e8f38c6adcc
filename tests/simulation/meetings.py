"""What has to meet for rules to matter that seldom do: scenes that stand alone, each with little besides."""

import random
from collections.abc import Callable
from typing import Final

from tests.simulation.plan import Action


class Meeting:
    """One of :data:`MEETINGS`: what has to meet for a rule to matter that seldom does, in the first room."""

    def __init__(self, chance: random.Random, nodes: int, people: int) -> None:
        self.draw = chance.uniform
        self.chance = chance
        self.nodes = nodes
        self.node = chance.randrange(nodes)
        self.who, self.other = chance.sample(range(people), 2)
        self._begins = chance.uniform(0.4, 2.0)

    def act(self, after: float, kind: str, who: int = 0, what: int = 0, seconds: float = 0.0) -> Action:
        return Action(round(self._begins + after, 3), kind, who, what, round(seconds, 3))

    def all_nodes(self, after: float, kind: str, seconds: float) -> list[Action]:
        return [self.act(after, kind, node, seconds=seconds) for node in range(self.nodes)]

    def batch_of_long_ago(self) -> list[Action]:
        """A batch whose ack is lost goes one by one when a leader is there again, who does not stay: some of it comes
        beyond the window."""
        back = self.draw(4.5, 6.5)
        return [
            self.act(0.0, "lose_acks", what=1),
            self.act(0.01, "burst", self.who, 160),
            self.act(0.3, "elect", seconds=back - 0.3),
            *(self.act(back + 0.15 * number, "elect", seconds=self.draw(0.02, 0.1)) for number in range(1, 16)),
        ]

    def election_in_a_fill(self) -> list[Action]:
        """What is stored while nobody leads, and not republished, while a node still fetches what it missed before."""
        elected = 0.1 + self.draw(0.004, 0.03)
        return [
            self.act(0.0, "short_answers", seconds=2.0),
            self.act(0.05, "lose_live", what=self.chance.randint(1, 2)),
            self.act(0.1, "burst", self.who, 30),
            self.act(elected, "elect", seconds=self.draw(0.05, 0.5)),
            self.act(elected + self.draw(0.0, 0.03), "send", self.other),
        ]

    def stored_before_removal(self) -> list[Action]:
        """Somebody hears of a removal before the ack of what was stored before it."""
        return [
            self.act(0.0, "lose_acks", what=self.chance.randint(1, 2)),
            self.act(0.01, "burst", self.who, self.chance.choice((10, 30))),
            self.act(self.draw(0.05, 2.0), "revoke", self.who),
        ]

    def opened_as_the_epoch_rises(self) -> list[Action]:
        return [
            self.act(0.0, "burst", self.other, 30),
            self.act(0.5, "online_at_raise", self.who, seconds=self.draw(0.007, 0.02)),
            *self.all_nodes(0.6, "kill_node", 0.3),
            self.act(2.45, "pause_worker", seconds=1.5),
            self.act(2.5, "go_back", what=10 * self.chance.randint(0, 1)),
            self.act(self.draw(9.0, 12.0), "send", self.who),
        ]

    def epoch_unheard(self) -> list[Action]:
        """Of a stream that was lost, by a node that people talk through."""
        return [
            self.act(0.0, "burst", self.other, 20),
            self.act(0.5, "lose_stream"),
            self.act(0.55, "deaf", self.node, seconds=self.draw(1.0, 3.0)),
            *(self.act(self.draw(0.6, 3.0), "send", who) for who in (self.who, self.other, self.who, self.other)),
        ]

    def node_begins_as_the_epoch_rises(self) -> list[Action]:
        """Between the moment when it is given out and the one when the stream is opened again."""
        return [
            self.act(0.0, "burst", self.other, 30),
            self.act(0.6, "go_back", what=10 * self.chance.randint(0, 2)),
            *self.all_nodes(self.draw(2.0, 7.5), "kill_node", self.draw(0.3, 0.6)),
            *(self.act(self.draw(8.5, 13.0), "send", who) for who in (self.who, self.other, self.who, self.other)),
        ]

    def removal_unheard(self) -> list[Action]:
        """Of which a node hears nothing, which may stand still before the next heartbeat."""
        stands = self.draw(7.0, 10.0)
        return [
            self.act(0.0, "deaf", self.node, seconds=0.3),
            self.act(0.1, "revoke", self.who),
            *([self.act(0.35, "pause_node", self.node, seconds=stands)] if self.chance.random() < 0.5 else ()),
            *(self.act(self.draw(1.0, stands), "send", self.other) for _ in range(3)),
        ]

    def removal_not_projected(self) -> list[Action]:
        """Nodes that begin while no worker is there know of it from the stream alone."""
        return [
            self.act(0.0, "kill_worker", seconds=15.0),
            *self.all_nodes(0.45, "kill_node", 0.3),
            self.act(0.5, "revoke", self.who),
            *(self.act(self.draw(2.0, 14.0), "send", self.other) for _ in range(5)),
        ]

    def joined_as_a_node_resumes(self) -> list[Action]:
        """It looks each quarter of a second whether it may deliver again; rooms are joined right before that."""
        stands = self.draw(6.0, 9.0)
        return [
            self.act(-0.2, "send", self.other),
            self.act(0.0, "pause_node", self.node, seconds=stands),
            *(self.act(self.draw(1.0, stands), "send", self.other) for _ in range(3)),
            *(self.act(stands + 0.25 - self.draw(0.004, 0.016), "subscribe", who) for who in (self.who, self.other)),
        ]

    def resent_beyond_the_window(self) -> list[Action]:
        """By somebody who never had the ack, and may have crashed meanwhile, or comes while MongoDB is away."""
        away = self.draw(9.0, 12.0)
        return [
            self.act(0.0, "lose_acks", what=1),
            self.act(0.01, "send", self.who),
            self.act(0.05, "offline", self.who, seconds=away),
            *([self.act(0.1, "crash_client", self.who)] if self.chance.random() < 0.5 else ()),
            *([self.act(away - 1.0, "mongo_away", seconds=8.0)] if self.chance.random() < 0.5 else ()),
            self.act(away + self.draw(0.0, 3.0), "send", self.other),
        ]

    def another_under_its_id(self) -> list[Action]:
        return [
            self.act(0.0, "send", self.who),
            self.act(self.draw(0.1, 3.0), "reuse", self.who),
        ]


MEETINGS: Final[tuple[Callable[[Meeting], list[Action]], ...]] = (
    Meeting.batch_of_long_ago,
    Meeting.election_in_a_fill,
    Meeting.stored_before_removal,
    Meeting.opened_as_the_epoch_rises,
    Meeting.epoch_unheard,
    Meeting.node_begins_as_the_epoch_rises,
    Meeting.removal_unheard,
    Meeting.removal_not_projected,
    Meeting.joined_as_a_node_resumes,
    Meeting.joined_as_a_node_resumes,
    Meeting.joined_as_a_node_resumes,
    Meeting.resent_beyond_the_window,
    Meeting.another_under_its_id,
)
NEED_CONTROL: Final = frozenset({Meeting.removal_unheard, Meeting.joined_as_a_node_resumes})
"""Whose nodes run in full."""
