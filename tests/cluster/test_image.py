"""The project's image, built of its Dockerfile: twice the same, small, and nobody's root."""

import tarfile
from pathlib import Path

import msgspec
import pytest

from chatoperator.objects import Json, at, items, mapping, text
from tests.cluster.harness import images, tools

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

MIB = 1024**2


@pytest.fixture(scope="module")
def archive() -> Path:
    tools.install_packages()
    return images.chat()


def read(archive: Path, digest: str) -> Json:
    with tarfile.open(archive) as bundle:
        found = bundle.extractfile(f"blobs/{digest.replace(':', '/')}")
        assert found is not None
        content: Json = msgspec.json.decode(found.read())
        return content


def manifest(archive: Path) -> Json:
    with tarfile.open(archive) as bundle:
        found = bundle.extractfile("index.json")
        assert found is not None
        return read(archive, text(items(msgspec.json.decode(found.read()), "manifests")[0], "digest"))


def configuration(archive: Path) -> Json:
    return read(archive, text(manifest(archive), "config", "digest"))


def test_built_again_from_nothing_it_is_the_same(archive: Path, tmp_path: Path) -> None:
    images.build_chat(tmp_path, "--layers", "--no-cache", tag="localhost/chatcluster:again")
    layers = [
        [str(layer) for layer in items(configuration(each), "rootfs", "diff_ids")]
        for each in (archive, tmp_path / "image.tar")
    ]
    assert layers[0] == layers[1]


def test_it_is_nobodys_root_and_small(archive: Path) -> None:
    found = configuration(archive)
    assert text(found, "config", "User") == "10001:10001"
    assert not mapping(found, "config", "ExposedPorts")
    own = items(manifest(archive), "layers")[1:]
    sizes = [size for layer in own if isinstance(size := at(layer, "size"), int)]
    assert sum(sizes) < 60 * MIB, "beside its base, packed"
