"""What a room is told of a control event."""

from msgspec import structs

from chatnode.protocol.control import Member, MemberPut, RoomPut
from chatnode.protocol.envelope import SYSTEM_USER, decode_envelope, encode_envelope
from chatnode.protocol.frames import MemberChange
from chatnode.worker.control import member_events

EVENT = MemberPut(id="m", actor="ann", ts=5, room="maths", user="bob", role="learner", name="Bob")
ROOM = RoomPut(
    id="r", actor="ann", ts=5, room="maths", room_kind="course", title="Maths",
    members=(Member("bob", "learner"), Member("dan", "learner"), Member("eve", "learner")),
)  # fmt: skip
BOB = MemberChange("bob", "learner", "Bob")
EVE = MemberChange("eve", None)


def test_a_change_of_one_member_is_one_event_of_the_system_in_the_name_of_who_did_it() -> None:
    (told,) = member_events(17, EVENT, [BOB])
    assert (told.kind, told.room, told.user, told.id, told.actor, told.ts, told.change) == (
        "member", "maths", SYSTEM_USER, "ctl-17", "ann", 5, BOB,
    )  # fmt: skip


def test_several_members_get_an_event_each_by_their_place_in_the_control_event() -> None:
    assert [told.id for told in member_events(17, ROOM, [BOB, EVE])] == ["ctl-17-0", "ctl-17-2"]


def test_a_member_alone_needs_no_place() -> None:
    alone = structs.replace(ROOM, members=ROOM.members[:1])
    assert [told.id for told in member_events(17, alone, [BOB])] == ["ctl-17"]


def test_they_are_the_same_whenever_the_control_event_comes_again() -> None:
    assert member_events(17, ROOM, [BOB, EVE]) == member_events(17, ROOM, [BOB, EVE])


def test_they_can_be_stored_and_read() -> None:
    (told,) = member_events(17, EVENT, [EVE])
    assert decode_envelope(encode_envelope(told)) == told
