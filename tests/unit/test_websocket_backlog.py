"""When a reader is too slow: by what still waits, not by what was ever written."""

from chatnode.transports.websocket.backlog import Backlog
from chatnode.transports.websocket.channel import SocketLimits

LIMITS = SocketLimits(send_buffer_bytes=1000, send_buffer_frames=50)


def test_up_to_the_limit_of_bytes_is_fine() -> None:
    assert not Backlog(0).overflows(1000, LIMITS)
    assert Backlog(0).overflows(1001, LIMITS)


def test_up_to_the_limit_of_frames_is_fine() -> None:
    backlog = Backlog(0)
    for _ in range(5):
        backlog.add(100, 10, 0)
    assert not backlog.overflows(500, LIMITS)
    backlog.add(2, 1, 0)
    assert backlog.overflows(502, LIMITS)


def test_frames_that_were_taken_meanwhile_do_not_count() -> None:
    backlog = Backlog(0)
    for _ in range(1000):
        backlog.add(100, 10, 0)
        assert not backlog.overflows(499, LIMITS)


def test_a_write_that_was_taken_in_part_still_counts() -> None:
    backlog = Backlog(0)
    backlog.add(100, 51, 0)
    assert backlog.overflows(1, LIMITS)
    backlog.add(100, 1, 0)
    assert not backlog.overflows(100, LIMITS)


def test_one_large_frame_may_wait_beside_the_limit() -> None:
    assert not Backlog(5000).overflows(6000, LIMITS)
    assert Backlog(5000).overflows(6001, LIMITS)
    backlog = Backlog(0)
    backlog.add(5000, 1, 5000)
    backlog.add(3000, 1, 3000)
    assert not backlog.overflows(6000, LIMITS)
    assert backlog.overflows(6001, LIMITS)
