"""How streams are configured, and what of an existing one may be changed."""

import msgspec
import pytest

from chatnode.broker.streams import (
    StreamConfig,
    StreamConflict,
    StreamFound,
    StreamState,
    chat_stream,
    closed_subjects,
    control_stream,
    differences,
    is_closed,
)

WANTED = chat_stream(3, epoch=1, first_seq=1, replicas=1, max_bytes=1000)


def as_json(value: object) -> dict[str, object]:
    return msgspec.json.decode(msgspec.json.encode(value), type=dict[str, object])


def found(config: StreamConfig, **changed: object) -> StreamFound:
    fields = {**as_json(config), **changed}
    raw = {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in fields.items()}
    return StreamFound(raw, StreamState(1, 0))


def test_a_partition_keeps_everything_and_republishes_it() -> None:
    assert as_json(WANTED) == {
        "name": "CHAT_3",
        "subjects": ["chat.3.room.*"],
        "num_replicas": 1,
        "max_bytes": 1000,
        "duplicate_window": 120_000_000_000,
        "republish": {"src": "chat.3.room.*", "dest": "live.3.room.{{wildcard(1)}}"},
        "storage": "file",
        "retention": "limits",
        "discard": "new",
        "max_msg_size": 98304,
        "allow_direct": True,
        "allow_atomic": True,
        "first_seq": 1,
        "metadata": {"chat-epoch": "1"},
    }


def test_control_events_are_republished_under_live() -> None:
    config = control_stream(epoch=1, first_seq=1, replicas=3, max_bytes=1000)
    assert (config.name, config.subjects, config.num_replicas) == ("CTRL", ("ctl.>",), 3)
    assert as_json(config.republish) == {"src": "ctl.>", "dest": "live.ctl.>"}


def test_nothing_changes_where_nothing_differs() -> None:
    assert differences(WANTED, found(WANTED, first_seq=77, metadata={"chat-epoch": "1", "_nats.ver": "2.15.1"})) == {}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("subjects", ["closed.chat.3.room.*"]),
        ("num_replicas", 3),
        ("max_bytes", 5),
        ("duplicate_window", 1),
        ("republish", None),
        ("discard", "old"),
        ("max_msg_size", -1),
        ("allow_direct", False),
        ("allow_atomic", False),
    ],
)
def test_what_differs_is_changed_and_nothing_else(field: str, value: object) -> None:
    changed = differences(WANTED, found(WANTED, **{field: value}))
    assert {name: msgspec.json.decode(raw) for name, raw in changed.items()} == {field: as_json(WANTED)[field]}


@pytest.mark.parametrize(("held", "after"), [("", "3"), ("2", "3"), ("3", None), ("7", None)])
def test_the_epoch_only_grows_and_what_others_wrote_into_the_metadata_stays(held: str, after: str | None) -> None:
    wanted = chat_stream(3, epoch=3, first_seq=1, replicas=1, max_bytes=1000)
    changed = differences(wanted, found(wanted, metadata={"chat-epoch": held, "owner": "us"}))
    if after is None:
        assert changed == {}
    else:
        assert msgspec.json.decode(changed["metadata"]) == {"chat-epoch": after, "owner": "us"}


@pytest.mark.parametrize(("field", "value"), [("storage", "memory"), ("retention", "workqueue")])
def test_what_cannot_be_changed_is_told(field: str, value: str) -> None:
    with pytest.raises(StreamConflict, match=f"CHAT_3: {field} is '{value}'"):
        differences(WANTED, found(WANTED, **{field: value}))


def test_a_closed_stream_listens_where_nobody_publishes() -> None:
    assert closed_subjects(WANTED) == ("closed.chat.3.room.*",)
    assert is_closed(found(WANTED, subjects=closed_subjects(WANTED)))
    assert not is_closed(found(WANTED))


@pytest.mark.parametrize(("metadata", "epoch"), [({"chat-epoch": "12"}, 12), ({}, 0), ({"chat-epoch": "x"}, 0)])
def test_the_epoch_is_read_from_the_metadata(metadata: dict[str, str], epoch: int) -> None:
    assert found(WANTED, metadata=metadata).epoch == epoch
