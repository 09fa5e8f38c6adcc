"""OCI image archives from folders, without any daemon: each layer is one tar, made once."""

import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path


def make_layer(root: Path, target: Path) -> Path:
    """A tar of a folder; the same for the same content."""
    subprocess.run(["tar", "-C", root, "--sort=name", "--mtime=@0", "--numeric-owner", "-cf", target, "."], check=True)
    return target


def write_archive(
    target: Path,
    name: str,
    layers: Sequence[Path],
    *,
    entrypoint: Sequence[str] = (),
    command: Sequence[str] = (),
    path: str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
) -> Path:
    """An archive that ``ctr images import`` and ``buildah pull oci-archive:`` take."""
    digests = [_digest(layer) for layer in layers]
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Entrypoint": list(entrypoint), "Cmd": list(command), "Env": [f"PATH={path}"]},
            "rootfs": {"type": "layers", "diff_ids": digests},
            "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "layer"} for _ in digests],
        }
    ).encode()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": _blob("application/vnd.oci.image.config.v1+json", _sha(config), len(config)),
            "layers": [
                _blob("application/vnd.oci.image.layer.v1.tar", digest, layer.stat().st_size)
                for digest, layer in zip(digests, layers, strict=True)
            ],
        }
    ).encode()
    entry = _blob("application/vnd.oci.image.manifest.v1+json", _sha(manifest), len(manifest))
    names = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name}
    index = {"schemaVersion": 2, "manifests": [{**entry, "annotations": names}]}
    with tarfile.open(target, "w") as tar:
        _add(tar, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        _add(tar, "index.json", json.dumps(index).encode())
        for blob in (config, manifest):
            _add(tar, f"blobs/sha256/{_sha(blob).removeprefix('sha256:')}", blob)
        for digest, layer in zip(digests, layers, strict=True):
            tar.add(layer, f"blobs/sha256/{digest.removeprefix('sha256:')}")
    return target


def _blob(media_type: str, digest: str, size: int) -> dict[str, object]:
    return {"mediaType": media_type, "digest": digest, "size": size}


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def _sha(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _digest(path: Path) -> str:
    whole = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            whole.update(block)
    return f"sha256:{whole.hexdigest()}"
