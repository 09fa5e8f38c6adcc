"""The outbox file: what it says, whatever a crash left of it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatclient.errors import OutboxFailed
from chatclient.journal import (
    OUTCOMES_S,
    Deleted,
    Denied,
    Done,
    Entry,
    Journal,
    Owned,
    Put,
    Retried,
    decode_lines,
    encode_line,
)
from chatclient.outbox_file import OutboxFile
from chatnode.protocol.frames import Send

IDS = ("a", "b", "c")


def put(command: str, at: float = 0.0) -> Put:
    return Put(at, Send(id=command, room="r", text=f"text of {command}\n é"))


def done(command: str, at: float = 0.0) -> Done:
    return Done(at, command, "r", 1, 7, 8)


def denied(command: str, at: float = 0.0) -> Denied:
    return Denied(at, command, "forbidden", "no")


entries = st.lists(
    st.one_of(
        st.sampled_from([put(each) for each in IDS]),
        st.sampled_from([done(each) for each in IDS]),
        st.sampled_from([denied(each) for each in IDS]),
        st.sampled_from([Retried(0.0, each) for each in IDS]),
        st.sampled_from([Deleted(0.0, each) for each in IDS]),
        st.just(Owned("ana")),
    ),
    max_size=20,
)


@given(entries, st.data())
def test_a_torn_last_line_is_as_if_it_had_never_been_written(written: list[Entry], data: st.DataObject) -> None:
    whole = b"".join(map(encode_line, written))
    torn = encode_line(put("torn"))
    read, size = decode_lines(whole + torn[: data.draw(st.integers(0, len(torn) - 1))])
    assert (read, size) == (written, len(whole))


@given(entries)
def test_a_compacted_journal_says_the_same(written: list[Entry]) -> None:
    journal = Journal(written)
    again = Journal(journal.compacted(now=1.0))
    assert (again.owner, list(again.unsent.values()), again.outcomes.keys()) == (
        journal.owner,
        list(journal.unsent.values()),
        journal.outcomes.keys(),
    )


@given(entries)
def test_what_is_acked_or_deleted_never_comes_back(written: list[Entry]) -> None:
    journal = Journal()
    over: set[str] = set()
    for entry in written:
        journal.apply(entry)
        if isinstance(entry, Done | Deleted):
            over.add(entry.id)
        assert not over & journal.unsent.keys()


def test_what_is_unsent_stands_in_the_order_in_which_it_was_put_there() -> None:
    journal = Journal([put("a"), put("b"), put("c"), done("b")])
    assert list(journal.unsent) == ["a", "c"]


def test_what_is_refused_waits_and_is_retried_behind_the_others_as_a_resend() -> None:
    journal = Journal([put("a"), put("b"), denied("a")])
    assert journal.unsent["a"].denied == denied("a")
    journal.apply(Retried(1.0, "a"))
    assert list(journal.unsent) == ["b", "a"]
    assert journal.unsent["a"].denied is None
    assert journal.unsent["a"].command.again


def test_outcomes_are_forgotten_after_a_while() -> None:
    journal = Journal([put("a"), done("a", at=10.0)])
    assert journal.compacted(10.0 + OUTCOMES_S) == []


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox"


def test_two_readers_see_what_each_of_them_writes(path: Path) -> None:
    one, other = OutboxFile(path), OutboxFile(path)
    assert one.read().entries == []
    one.append([put("a")], durable=True)
    other.append([put("b"), done("a")], durable=False)
    assert one.read().entries == other.read().entries == [put("a"), put("b"), done("a")]
    assert one.read().entries == []


def test_a_torn_line_is_cut_off_by_whoever_writes_next(path: Path) -> None:
    OutboxFile(path).append([put("a")], durable=True)
    with path.open("ab") as file:
        file.write(encode_line(put("torn"))[:-5])
    reader = OutboxFile(path)
    assert reader.read().entries == [put("a")]
    OutboxFile(path).append([put("b")], durable=True)
    assert reader.read().entries == [put("b")]


def test_a_file_that_is_nothing_but_torn_is_empty(path: Path) -> None:
    path.write_bytes(b"\0" * 10_000)
    outbox = OutboxFile(path)
    assert outbox.read().entries == []
    outbox.append([put("a")], durable=True)
    assert OutboxFile(path).read().entries == [put("a")]


def test_a_line_that_nobody_wrote_is_told_and_nothing_is_changed(path: Path) -> None:
    OutboxFile(path).append([put("a"), put("b")], durable=True)
    data = path.read_bytes().replace(b"text of a", b"text of x")
    path.write_bytes(data)
    with pytest.raises(OutboxFailed, match="checksum"):
        OutboxFile(path).read()
    assert path.read_bytes() == data


def test_one_leads_at_a_time(path: Path) -> None:
    one, other = OutboxFile(path), OutboxFile(path)
    assert one.lead()
    assert one.lead()
    assert not other.lead()
    one.close()
    assert other.lead()
    other.close()


def test_a_reader_notices_that_the_file_was_written_anew(path: Path) -> None:
    one, other = OutboxFile(path), OutboxFile(path)
    one.append(
        [put("a"), put("b"), done("a"), *(entry for _ in range(9) for entry in (put("c"), done("c")))], durable=True
    )
    other.read()
    size = path.stat().st_size
    one.compact(1.0)
    assert path.stat().st_size < size
    news = other.read()
    assert news.anew
    assert list(Journal(news.entries).unsent) == ["b"]
    other.append([put("d")], durable=True)
    assert one.read().entries[-1] == put("d")


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(OutboxFailed, match="No such file"):
        OutboxFile(tmp_path / "nowhere" / "outbox").append([put("a")], durable=True)


def test_the_file_is_for_its_owner_alone(path: Path) -> None:
    OutboxFile(path).append([put("a")], durable=True)
    assert path.stat().st_mode & 0o777 == 0o600
