"""One look-up for all commands that wait, carried along as the room goes on, tells what a look at everything would."""

from hypothesis import given
from hypothesis import strategies as st

from chatnode.protocol.envelope import Envelope, Sealed, encode_envelope
from chatnode.rooms.ports import Stored
from chatnode.rooms.stored import Sought

ROOM, EPOCH = "algebra", 3
COMMANDS = ("a", "b", "c", "d")


def event(seq: int, user: str, command: str) -> Stored:
    envelope = Envelope(
        kind="message",
        room=ROOM,
        user=user,
        id=command,
        ts=seq,
        digest=f"{user} {command}",
        body=Sealed("plain", command.encode()),
    )
    return Stored(f"room.{ROOM}", seq, seq, {}, encode_envelope(envelope))


events = st.lists(st.tuples(st.sampled_from(("ada", "bob")), st.sampled_from(COMMANDS)), max_size=30)


@given(said=events, stops=st.lists(st.integers(0, 30), max_size=6))
def test_read_in_pieces_it_knows_the_first_place_of_each_command_as_if_read_at_once(
    said: list[tuple[str, str]], stops: list[int]
) -> None:
    log = [event(2 * number + 1, user, command) for number, (user, command) in enumerate(said)]
    sought = Sought(ROOM, "ada", COMMANDS, EPOCH)
    for stop in [*sorted(stops), 100]:
        sought.read([each for each in log if sought.upto < each.seq <= stop], max(stop, sought.upto))
    for command in COMMANDS:
        first = next(
            (each.seq for each, (user, its) in zip(log, said, strict=True) if (user, its) == ("ada", command)), 0
        )
        found = sought.found(command)
        assert (found.seq if found else 0) == first
        assert found is None or (found.epoch, found.digest) == (EPOCH, f"ada {command}")


def test_what_was_stored_where_the_room_stood_takes_the_others_to_its_place() -> None:
    sought = Sought(ROOM, "ada", ("a", "b"), EPOCH)
    sought.read((), 7)
    sought.accepted("a", 12)
    assert sought.upto == 12
    assert sought.covers("b", EPOCH)
    assert sought.found("b") is None


def test_a_command_that_was_stored_is_looked_up_anew_when_it_comes_again() -> None:
    sought = Sought(ROOM, "ada", ("a", "b"), EPOCH)
    sought.accepted("a", 12)
    assert not sought.covers("a", EPOCH)


def test_in_another_epoch_nothing_is_known() -> None:
    sought = Sought(ROOM, "ada", ("a",), EPOCH)
    assert sought.covers("a", EPOCH)
    assert not sought.covers("a", EPOCH + 1)


def test_what_is_no_event_is_passed_over() -> None:
    sought = Sought(ROOM, "ada", ("a",), EPOCH)
    sought.read([Stored(f"room.{ROOM}", 1, 1, {}, b"rubbish"), event(2, "ada", "a")], 2)
    found = sought.found("a")
    assert found is not None
    assert found.seq == 2
