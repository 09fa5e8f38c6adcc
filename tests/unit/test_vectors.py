"""The shared test vectors are what the code makes, and say what the protocol says."""

import hashlib
import json

import pytest

from chatnode.protocol.errors import ErrorCode
from tests.vectors.generate import FOLDER, VECTORS, rendered


def vectors(name: str) -> object:
    return json.loads((FOLDER / name).read_text("utf-8"))


@pytest.mark.parametrize("name", sorted(VECTORS))
def test_the_vectors_are_those_of_the_code(name: str) -> None:
    written = (FOLDER / name).read_text("utf-8")
    assert written == rendered(name), "run: python -m tests.vectors.generate"


def test_no_vectors_are_left_over() -> None:
    assert {path.name for path in FOLDER.glob("*.json")} == set(VECTORS)


def test_event_hashes_are_the_first_eight_digits_of_sha256_over_user_and_command() -> None:
    for each in vectors("event_hashes.json"):  # type: ignore[attr-defined]
        assert each["hash"] == hashlib.sha256(f"{each['user']}:{each['command']}".encode()).hexdigest()[:8]


def test_both_directions_of_a_pair_are_one_room() -> None:
    one, other, *_ = vectors("direct_rooms.json")  # type: ignore[misc]
    assert one["users"] == other["users"][::-1]
    assert one["room"] == other["room"]


def test_every_error_has_its_vector() -> None:
    assert set(vectors("errors.json")["errors"]) == {str(code) for code in ErrorCode}  # type: ignore[index]
