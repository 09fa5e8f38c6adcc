"""The session of one connection: order of the protocol, limits, timers."""

from hypothesis import given
from hypothesis import strategies as st

from chatnode.protocol.codec import encode_frame
from chatnode.protocol.errors import CloseCode, ErrorCode, ProtocolError
from chatnode.protocol.frames import Connect, Error, Ping, Send, Subscribe, Typing
from chatnode.session.bucket import TokenBucket, told
from chatnode.session.core import Answer, Authenticate, Output, Perform, Say, Session, SessionLimits, Shut, State
from chatnode.session.lanes import AWAITED_MAX, PATIENCE_S, Lanes


def session(**limits: float) -> Session:
    return Session(SessionLimits(**limits), 0.0)  # type: ignore[arg-type]


def ready(**limits: float) -> Session:
    made = session(**limits)
    made.receive(encode_frame(Connect(id="c", token="t")), 0.0)
    assert made.authenticated("ada", deadline=1000.0, now=0.0) == []
    return made


def error_of(outputs: list[Output]) -> Error:
    frames = [output.frame for output in outputs if isinstance(output, Say)]
    assert len(frames) == 1
    assert isinstance(frames[0], Error)
    return frames[0]


def test_the_first_frame_has_to_be_connect() -> None:
    made = session()
    refused = error_of(made.receive(encode_frame(Ping(id="p")), 0.0))
    assert (refused.id, refused.code) == ("p", ErrorCode.UNAUTHENTICATED)
    assert made.receive(encode_frame(Connect(id="c", token="secret")), 0.0) == [Authenticate("secret")]


def test_a_token_may_come_with_the_handshake_instead() -> None:
    assert session().receive(encode_frame(Connect(id="c")), 0.0) == [Authenticate(None)]


def test_without_connect_the_socket_is_closed_after_five_seconds() -> None:
    made = session()
    assert made.deadline == 5.0
    assert made.expired(4.9) == []
    assert [output.code for output in made.expired(5.0) if isinstance(output, Shut)] == [CloseCode.CONNECT_TIMEOUT]


def test_a_token_that_is_not_verified_in_time_counts_as_no_connect() -> None:
    made = session()
    made.receive(encode_frame(Connect(id="c", token="t")), 0.0)
    assert [output.code for output in made.expired(5.0) if isinstance(output, Shut)] == [CloseCode.CONNECT_TIMEOUT]
    assert made.authenticated("ada", deadline=100.0, now=6.0) == []
    assert made.state is State.CLOSED


def test_what_is_sent_before_welcome_is_done_after_it_in_order() -> None:
    made = session()
    made.receive(encode_frame(Connect(id="c", token="t")), 0.0)
    first, second = Subscribe(id="1", room="r"), Send(id="2", room="r", text="x")
    assert made.receive(encode_frame(first), 0.0) == []
    assert made.receive(encode_frame(second), 0.0) == []
    assert made.authenticated("ada", deadline=100.0, now=0.0) == [Perform(first), Perform(second)]


def test_too_much_before_welcome_is_refused() -> None:
    made = session(waiting=2)
    made.receive(encode_frame(Connect(id="c", token="t")), 0.0)
    for number in range(2):
        assert made.receive(encode_frame(Ping(id=str(number))), 0.0) == []
    assert error_of(made.receive(encode_frame(Ping(id="x")), 0.0)).code == ErrorCode.RATE_LIMITED


def test_connecting_twice_is_a_conflict_before_and_after_welcome() -> None:
    again = encode_frame(Connect(id="d", token="t"))
    made = session()
    made.receive(encode_frame(Connect(id="c", token="t")), 0.0)
    assert error_of(made.receive(again, 0.0)).code == ErrorCode.CONFLICT
    assert error_of(ready().receive(again, 0.0)).code == ErrorCode.CONFLICT


def test_a_refused_token_ends_the_session_without_reconnecting() -> None:
    made = session()
    made.receive(encode_frame(Connect(id="c", token="t")), 0.0)
    outputs = made.refused(ProtocolError(ErrorCode.UNAUTHENTICATED, "expired"))
    assert error_of(outputs).id == "c"
    shut = next(output for output in outputs if isinstance(output, Shut))
    assert not shut.code.reconnect


def test_a_token_that_cannot_be_checked_now_lets_the_client_come_back() -> None:
    made = session()
    made.receive(encode_frame(Connect(id="c", token="t")), 0.0)
    outputs = made.refused(ProtocolError(ErrorCode.UNAVAILABLE, "away"))
    assert next(output for output in outputs if isinstance(output, Shut)).code.reconnect


def test_the_end_of_the_token_closes_unless_it_was_refreshed() -> None:
    made = ready()
    made.refreshed(2000.0)
    assert made.expired(1000.0) == []
    assert [output.code for output in made.expired(2000.0) if isinstance(output, Shut)] == [CloseCode.TOKEN_EXPIRED]


def test_a_ping_is_answered_at_once() -> None:
    assert ready().receive(encode_frame(Ping(id="p")), 1.0) == [Answer("p")]


def test_mistakes_are_answered_and_only_a_long_row_of_them_closes() -> None:
    made = ready(errors_in_a_row=3)
    for _ in range(2):
        assert error_of(made.receive(b"{}", 0.0)).code == ErrorCode.INVALID
    made.receive(encode_frame(Ping(id="p")), 0.0)
    for _ in range(2):
        made.receive(b"nonsense", 0.0)
    outputs = made.receive(b"nonsense", 0.0)
    assert [output.code for output in outputs if isinstance(output, Shut)] == [CloseCode.TOO_MANY_ERRORS]
    assert made.receive(encode_frame(Ping(id="p")), 0.0) == []


def test_a_peer_above_its_rate_is_told_when_to_come_back_and_served_then() -> None:
    made = ready(rate_per_s=10.0, burst=2)
    ping = encode_frame(Ping(id="p"))
    assert [type(made.receive(ping, 0.0)[0]) for _ in range(3)] == [Answer, Answer, Say]
    refused = error_of(made.receive(ping, 0.0))
    assert refused.retryable
    assert isinstance(refused.retry_after, float)
    assert made.receive(ping, refused.retry_after) == [Answer("p")]


def test_who_ignores_rate_limited_is_closed() -> None:
    made = ready(rate_per_s=0.1, burst=1, floods_in_a_row=5)
    ping = encode_frame(Ping(id="p"))
    made.receive(ping, 0.0)
    for _ in range(4):
        error_of(made.receive(ping, 0.0))
    assert [output.code for output in made.receive(ping, 0.0) if isinstance(output, Shut)] == [CloseCode.FLOOD]


def test_a_send_that_was_refused_for_its_rate_is_not_overtaken() -> None:
    made = ready(rate_per_s=1.0, burst=1)
    assert made.receive(encode_frame(Send(id="1", room="r", text="x")), 0.0) != []
    error_of(made.receive(encode_frame(Send(id="2", room="r", text="x")), 0.0))
    assert not made.lanes_made().passes("r", "3", 1.0)
    assert made.lanes_made().passes("r", "2", 1.0)
    assert made.lanes_made().passes("other", "3", 1.0)


def test_commands_in_flight_are_bounded_until_they_are_finished() -> None:
    made = ready(in_flight=1)
    typing = encode_frame(Typing(id="t", room="r"))
    assert isinstance(made.receive(typing, 0.0)[0], Perform)
    assert error_of(made.receive(typing, 0.0)).code == ErrorCode.RATE_LIMITED
    made.finished()
    assert isinstance(made.receive(typing, 0.0)[0], Perform)


def test_rooms_of_a_connection_are_bounded() -> None:
    made = ready(rooms=1)
    assert made.claim("a") is None
    assert made.claim("a") is None
    refused = made.claim("b")
    assert refused is not None
    assert refused.code == ErrorCode.RATE_LIMITED


def test_a_request_may_begin_the_session_in_place_of_connect_once() -> None:
    made = session()
    assert made.begin({"r": None}) == [Authenticate(None)]
    assert made.begin({}) == []
    assert made.cursors == {"r": None}
    assert made.authenticated("ada", deadline=100.0, now=0.0) == []
    assert made.receive(encode_frame(Ping(id="p")), 0.0) == [Answer("p")]


def test_sessions_may_share_one_rate() -> None:
    bucket = TokenBucket(1.0, 1, 0.0)
    one, two = ready(), ready()
    one.share(bucket)
    two.share(bucket)
    assert one.receive(encode_frame(Ping(id="p")), 0.0) == [Answer("p")]
    assert error_of(two.receive(encode_frame(Ping(id="p")), 0.0)).code == ErrorCode.RATE_LIMITED


def test_what_comes_after_the_end_changes_nothing() -> None:
    made = ready()
    made.close()
    assert made.refused(ProtocolError(ErrorCode.UNAUTHENTICATED, "late")) == []
    assert made.expired(10_000.0) == []
    assert made.receive(b"{}", 0.0) == []


@given(frames=st.lists(st.one_of(st.binary(max_size=64), st.sampled_from([b'{"type":"ping","id":"p"}', b"[]"]))))
def test_whatever_arrives_each_frame_gets_one_answer_at_most(frames: list[bytes]) -> None:
    made = ready(errors_in_a_row=10_000, rate_per_s=1000.0, burst=1000)
    for frame in frames:
        assert len(made.receive(frame, 0.0)) == 1


@given(
    rate=st.floats(0.5, 100),
    burst=st.integers(1, 50),
    steps=st.lists(st.floats(0, 2, allow_nan=False), max_size=200),
)
def test_a_bucket_never_gives_more_than_burst_and_rate_allow(rate: float, burst: int, steps: list[float]) -> None:
    bucket = TokenBucket(rate, burst, 0.0)
    now, taken = 0.0, 0
    for step in steps:
        now += step
        wait = bucket.take(now)
        taken += wait == 0.0
        assert wait >= 0.0
        assert taken <= burst + rate * now + 1e-6


@given(st.floats(0, 100, exclude_min=True))
def test_nobody_is_told_to_come_back_at_once_or_too_early(wait: float) -> None:
    assert told(wait) >= max(wait - 1e-9, 0.001)


def test_time_that_goes_back_gives_nothing() -> None:
    bucket = TokenBucket(1.0, 1, 10.0)
    assert bucket.take(10.0) == 0.0
    assert bucket.take(0.0) > 0.0
    assert bucket.take(10.5) > 0.0
    assert bucket.take(11.0) == 0.0


def test_after_a_failure_only_the_failed_command_passes_until_it_is_settled() -> None:
    lanes = Lanes()
    lanes.refused("r", "1", 0.0)
    lanes.refused("r", "2", 0.0)
    assert [lanes.passes("r", command, 1.0) for command in ("1", "2", "3")] == [True, False, False]
    lanes.settled("r", "2", 1.0)
    assert not lanes.passes("r", "2", 1.0)
    lanes.settled("r", "1", 1.0)
    assert lanes.passes("r", "2", 1.0)


def test_what_came_before_a_command_that_failed_is_not_held_up_by_it() -> None:
    made = ready(rate_per_s=1.0, burst=2)
    lanes = made.lanes_made()
    for command in ("1", "2"):
        made.receive(encode_frame(Send(id=command, room="r", text="x")), 0.0)
        assert lanes.admit("r", command, 0.0)
    error_of(made.receive(encode_frame(Send(id="3", room="r", text="x")), 0.0))
    assert [lanes.passes("r", command, 0.0) for command in ("1", "2", "3", "4")] == [True, True, True, False]
    lanes.failed("r", "1", 0.0)
    assert [lanes.passes("r", command, 0.0) for command in ("1", "2", "3", "4")] == [True, False, False, False]


class Talk:
    """A client, the wire and a node that works commands off in the order in which they came."""

    def __init__(self, count: int) -> None:
        self.lanes = Lanes()
        self.now = 0.0
        self.left = list(range(count))
        """What has no ack, as far as the client knows."""
        self.following = 0
        """What is sent next is the first from here on: a refusal sets it back to what was refused."""
        self.wire: list[int] = []
        self.queue: list[int] = []
        self.answers: list[tuple[int, bool]] = []
        self.stored: list[int] = []

    def moves(self) -> list[str]:
        sendable = any(command >= self.following for command in self.left)
        able = {"send": sendable, "take": self.wire, "store": self.queue, "hear": self.answers}
        return [move for move, there in able.items() if there]

    def move(self, name: str, *, fails: bool) -> None:
        if name == "send":
            command = min(command for command in self.left if command >= self.following)
            self.wire.append(command)
            self.following = command + 1
        elif name == "take":
            command = self.wire.pop(0)
            if fails or not self.lanes.admit("r", str(command), self.now):
                self.lanes.refused("r", str(command), self.now)
                self.answers.append((command, False))
            else:
                self.queue.append(command)
        elif name == "store":
            self.store(self.queue.pop(0), fails=fails)
        else:
            command, kept = self.answers.pop(0)
            if kept:
                self.left = [each for each in self.left if each != command]
            else:
                self.following = min(self.following, command)

    def store(self, command: int, *, fails: bool) -> None:
        if fails or not self.lanes.passes("r", str(command), self.now):
            self.lanes.failed("r", str(command), self.now)
            self.answers.append((command, False))
            return
        if command not in self.stored:
            self.stored.append(command)
        self.lanes.settled("r", str(command), self.now)
        self.answers.append((command, True))


@given(st.integers(1, 5), st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=60))
def test_whatever_is_refused_when_a_senders_commands_are_stored_in_the_order_in_which_they_were_sent(
    count: int, steps: list[tuple[int, bool]]
) -> None:
    talk = Talk(count)
    for choice, fails in steps:
        moves = talk.moves()
        if moves:
            talk.move(moves[-1 - choice % len(moves)], fails=fails)
    # What was refused as a copy, after the other copy's ack, never comes again: its lane waits, but not for ever.
    while moves := talk.moves():
        assert talk.now < 3 * PATIENCE_S, "somebody waits for ever"
        talk.move(moves[-1], fails=False)
        talk.now += 0.1
    assert talk.stored == list(range(count))


def test_what_follows_a_command_that_came_again_may_come_at_once() -> None:
    lanes = Lanes()
    for command in ("1", "2", "3"):
        lanes.refused("r", command, 0.0)
    assert [lanes.admit("r", command, 1.0) for command in ("1", "2", "3", "4")] == [True] * 4


def test_what_was_refused_behind_a_command_is_not_overtaken_once_that_is_stored() -> None:
    lanes = Lanes()
    lanes.refused("r", "1", 0.0)
    assert not lanes.admit("r", "2", 0.0)
    lanes.refused("r", "2", 0.0)
    assert lanes.admit("r", "1", 0.0)
    lanes.settled("r", "1", 0.0)
    assert not lanes.admit("r", "3", 0.0)
    assert lanes.admit("r", "2", 0.0)
    assert lanes.admit("r", "3", 0.0)


def test_what_waits_does_not_overtake_a_command_that_came_again_after_it() -> None:
    lanes = Lanes()
    assert lanes.admit("r", "1", 0.0)
    assert lanes.admit("r", "2", 0.0)
    lanes.failed("r", "1", 0.0)
    assert lanes.admit("r", "1", 0.0)
    assert not lanes.passes("r", "2", 0.0)
    assert lanes.passes("r", "1", 0.0)


def test_the_copy_of_a_command_that_is_stored_is_not_awaited() -> None:
    lanes = Lanes()
    lanes.refused("r", "1", 0.0)
    lanes.refused("r", "2", 0.0)
    assert lanes.admit("r", "1", 0.0)
    lanes.settled("r", "1", 0.0)
    assert not lanes.admit("r", "1", 0.0)
    lanes.refused("r", "1", 0.0)
    assert [lanes.admit("r", command, 0.0) for command in ("2", "3")] == [True, True]


def test_a_sender_who_is_refused_without_end_is_remembered_within_bounds() -> None:
    lanes = Lanes()
    for number in range(2 * AWAITED_MAX):
        lanes.refused("r", str(number), 0.0)
    assert sum(lanes.admit("r", str(number), 1.0) for number in range(AWAITED_MAX)) == AWAITED_MAX


def test_a_command_that_was_given_up_blocks_its_lane_for_a_while_only() -> None:
    lanes = Lanes()
    lanes.refused("r", "1", 0.0)
    assert not lanes.passes("r", "2", PATIENCE_S - 0.1)
    assert lanes.passes("r", "2", PATIENCE_S)
    assert lanes.passes("r", "3", PATIENCE_S)
