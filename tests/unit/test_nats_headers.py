"""Headers of NATS messages are read as nats-py reads them, whatever they hold."""

from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client

from chatnode.broker.connection import LeanClient

names = st.text(st.sampled_from("ABZabz-019"), min_size=1, max_size=12)
values = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=20).map(str.strip)


@given(st.dictionaries(names, values, max_size=9))
def test_what_a_server_writes_is_read_alike(headers: dict[str, str]) -> None:
    raw = "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode() + b"\r\n"
    assert LeanClient._parse_header_lines(raw) == Client._parse_header_lines(raw) == headers


@given(st.lists(st.sampled_from([b"A: 1", b"B:2", b"C", b"", b": 3", b"D: \xff", b"E: a: b"]), max_size=6))
def test_what_no_server_writes_is_left_to_nats_py(lines: list[bytes]) -> None:
    raw = b"\r\n".join(lines) + b"\r\n\r\n"
    assert LeanClient._parse_header_lines(raw) == Client._parse_header_lines(raw)
