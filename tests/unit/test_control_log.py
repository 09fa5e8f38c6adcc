"""What a node keeps of the control log finds by room and user what it still holds."""

from hypothesis import given
from hypothesis import strategies as st

from chatnode.protocol.control import ControlEvent, MemberPut, Revoked, RoomPut
from chatnode.rooms.control_log import ControlLog
from tests.unit.projected_rights import ROOMS, USERS, changes


@given(st.lists(changes, max_size=20), st.integers(0, 20), st.integers(1, 5))
def test_the_log_finds_by_room_and_user_what_it_still_holds(events: list[ControlEvent], upto: int, limit: int) -> None:
    log = ControlLog(limit)
    for seq, event in enumerate(events, start=1):
        log.append(seq, event)
    log.prune(upto)
    numbered = [
        (seq, event) for seq, event in enumerate(events, start=1) if isinstance(event, RoomPut | MemberPut | Revoked)
    ][-limit:]
    kept = [(seq, event) for seq, event in numbered if seq > upto]
    assert len(log) == len(kept)
    assert log.floor >= upto
    assert all(seq > log.floor for seq, _ in kept)
    for room in ROOMS:
        mine = tuple((s, e) for s, e in kept if isinstance(e, RoomPut | MemberPut) and e.room == room)
        assert log.of_room(room) == mine
        assert log.touches(room) is bool(mine)
    for user in USERS:
        revoked = [e.before for _, e in kept if isinstance(e, Revoked) and e.user == user]
        assert log.revoked_before(user) == max(revoked, default=0)
        named = {
            e.room
            for _, e in kept
            if (isinstance(e, MemberPut) and e.user == user)
            or (isinstance(e, RoomPut) and user in {m.user for m in e.members})
        }
        assert log.rooms_naming(user) == named
