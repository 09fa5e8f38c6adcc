"""Presence gossip: nodes agree on who is online, whatever gets lost, and forget the dead."""

from hypothesis import given, settings
from hypothesis import strategies as st

from chatnode.rooms.presence import (
    BEAT_S,
    GRACE_S,
    SILENCE_S,
    Gossip,
    PresenceBook,
    decode_gossip,
    encode_gossip,
)


class Network:
    """Nodes that hear each other at once, unless a message is dropped."""

    def __init__(self, *nodes: str) -> None:
        self.books = {node: PresenceBook(node, f"{node}-1") for node in nodes}
        self.now = 0.0

    def send(self, message: Gossip | None, dropped: frozenset[str] = frozenset()) -> None:
        if message is None:
            return
        message = decode_gossip(encode_gossip(message))
        for node, book in self.books.items():
            if node not in dropped:
                self.send(book.hear(message, self.now), dropped)

    def tick(self, seconds: float, dropped: frozenset[str] = frozenset()) -> None:
        self.now += seconds
        for book in tuple(self.books.values()):
            book.expire(self.now)
            self.send(book.delta(), dropped)
            self.send(book.beat(), dropped)

    def online(self, node: str, users: str) -> set[str]:
        book = self.books[node]
        book.changes(self.now)
        return {user for user in users if book.online(user)}


def test_who_connects_to_one_node_is_online_on_all() -> None:
    network = Network("a", "b")
    network.books["a"].came("x", 0.0)
    network.tick(0.5)
    assert network.online("b", "xy") == {"x"}
    assert network.books["b"].changes(network.now) == ([], [])


def test_a_second_device_changes_nothing() -> None:
    network = Network("a", "b")
    network.books["a"].came("x", 0.0)
    network.books["b"].came("x", 0.0)
    network.tick(0.5)
    network.books["a"].went("x", network.now)
    network.tick(GRACE_S + 1)
    assert network.online("b", "x") == {"x"}


def test_who_reconnects_elsewhere_at_once_was_never_away() -> None:
    network = Network("a", "b", "c")
    network.books["a"].came("x", 0.0)
    network.tick(0.5)
    assert network.books["c"].changes(network.now) == (["x"], [])
    network.books["a"].went("x", network.now)
    network.tick(0.5)
    network.books["b"].came("x", network.now)
    network.tick(GRACE_S + 1)
    assert network.books["c"].changes(network.now) == ([], [])


def test_who_goes_is_announced_once_after_a_moment() -> None:
    network = Network("a", "b")
    network.books["a"].came("x", 0.0)
    network.tick(0.5)
    network.books["b"].changes(network.now)
    network.books["a"].went("x", network.now)
    network.tick(0.5)
    assert network.books["b"].changes(network.now) == ([], [])
    network.tick(GRACE_S)
    assert network.books["b"].changes(network.now) == ([], ["x"])
    assert network.books["b"].changes(network.now) == ([], [])


def test_users_of_a_dead_node_are_gone_within_fifteen_seconds() -> None:
    network = Network("a", "b")
    network.books["a"].came("x", 0.0)
    network.tick(BEAT_S)
    died = network.now
    del network.books["a"]
    while network.online("b", "x"):
        network.tick(0.5)
    assert SILENCE_S <= network.now - died <= 15.0


def test_a_node_that_says_goodbye_takes_its_users_with_it_at_once() -> None:
    network = Network("a", "b")
    network.books["a"].came("x", 0.0)
    network.tick(0.5)
    network.books["b"].changes(network.now)
    network.send(network.books.pop("a").bye())
    network.now += GRACE_S
    assert network.books["b"].changes(network.now) == ([], ["x"])


def test_a_restarted_node_begins_anew() -> None:
    network = Network("a", "b")
    network.books["a"].came("x", 0.0)
    network.tick(0.5)
    network.books["a"] = PresenceBook("a", "a-2")
    network.books["a"].came("y", network.now)
    network.tick(0.5)
    network.tick(GRACE_S)
    assert network.online("b", "xy") == {"y"}


@settings(max_examples=300)
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from("abc"),
            st.sampled_from("wxyz"),
            st.booleans(),
            st.frozensets(st.sampled_from("abc")),
        ),
        max_size=40,
    )
)
def test_all_nodes_agree_once_messages_arrive_again(steps: list[tuple[str, str, bool, frozenset[str]]]) -> None:
    network = Network("a", "b", "c")
    connected: dict[tuple[str, str], int] = {}
    for node, user, comes, dropped in steps:
        held = connected.get((node, user), 0)
        if comes:
            network.books[node].came(user, network.now)
            connected[node, user] = held + 1
        elif held:
            network.books[node].went(user, network.now)
            connected[node, user] = held - 1
        network.tick(0.5, dropped)
    for _ in range(10):
        network.tick(1.0)
    expected = {user for (_, user), count in connected.items() if count}
    assert [network.online(node, "wxyz") for node in "abc"] == [expected] * 3
