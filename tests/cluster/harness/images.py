"""The images that run in the tests: the project's own from its Dockerfile, the datastores from their wheels."""

import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.cluster.harness import archives, skaffold, tools
from tests.cluster.harness.cache import CACHE, ROOT, HarnessError, digest, kept, run, say

CHAT = "localhost/chatcluster:test"
DATASTORES = "localhost/datastores:test"
PAUSE = "localhost/pause:1"
GATEWAY = "localhost/gateway:1"
ENVOY = "localhost/envoy:1"
_RECIPE = tuple(Path(source).read_bytes() for source in (__file__, archives.__file__))
"""Goes into the name of every image here: a changed recipe makes another one."""


def base_layer() -> Path:
    root = tools.base_system() / "root"
    folder = kept(f"layer-{root.parent.name}", lambda target: _made(archives.make_layer(root, target / "layer.tar")))
    return folder / "layer.tar"


def _made(_path: Path) -> None:
    return None


def pause() -> Path:
    binary = tools.built("pause") / "pause"

    def build(target: Path) -> None:
        (target / "root").mkdir()
        shutil.copy(binary, target / "root" / "pause")
        layer = archives.make_layer(target / "root", target / "layer.tar")
        archives.write_archive(target / "image.tar", PAUSE, [layer], entrypoint=["/pause"])

    return kept(f"image-pause-{digest([*_RECIPE, binary.read_bytes()])}", build) / "image.tar"


def datastores() -> Path:
    """mongod and nats-server, of the wheels that the other tests use."""
    programs = (_mongod(), _program("nats-server"))
    stamp = digest([*_RECIPE, *(path.read_bytes() for path in programs)])

    def build(target: Path) -> None:
        folder = target / "root" / "usr" / "local" / "bin"
        folder.mkdir(parents=True)
        for program in programs:
            shutil.copy(program, folder / program.name)
            (folder / program.name).chmod(0o755)
        layer = archives.make_layer(target / "root", target / "layer.tar")
        archives.write_archive(target / "image.tar", DATASTORES, [base_layer(), layer], command=["nats-server", "-v"])
        shutil.rmtree(target / "root")

    return kept(f"datastores-{stamp}-{base_layer().parent.name[-12:]}", build) / "image.tar"


def gateway() -> tuple[Path, Path]:
    """Envoy Gateway's control plane and Envoy: one binary each and the libraries that it loads, no shell."""
    control = tools.built("gateway") / "envoy-gateway"
    # The chart starts the control plane with arguments alone, so that its image needs an entry point.
    return _bare(control, GATEWAY, entrypoint=["envoy-gateway"]), _bare(envoy_program(), ENVOY, command=["envoy"])


def envoy_program() -> Path:
    """The wheel's Envoy."""
    wheel = importlib.util.find_spec("envoy")
    for root in wheel.submodule_search_locations or () if wheel else ():
        candidate = Path(root) / "_bin" / "envoy"
        if candidate.exists():
            return candidate
    raise HarnessError("no envoy: install requirements/dev.txt")


def _bare(binary: Path, name: str, *, entrypoint: Sequence[str] = (), command: Sequence[str] = ()) -> Path:
    def build(target: Path) -> None:
        root = target / "root"
        for folder in ("etc", "tmp", "usr/local/bin", "var/lib/eg"):
            (root / folder).mkdir(parents=True)
        (root / "tmp").chmod(0o1777)
        (root / "var/lib/eg").chmod(0o1777)
        shutil.copy(binary, root / "usr/local/bin" / binary.name)
        (root / "usr/local/bin" / binary.name).chmod(0o755)
        for library in _libraries(binary):
            place = root / str(library).lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library.resolve(), place)
        (root / "etc/passwd").write_text("root:x:0:0::/:/\nnonroot:x:65532:65532::/tmp:/\n")
        (root / "etc/group").write_text("root:x:0:\nnonroot:x:65532:\n")
        (root / "etc/nsswitch.conf").write_text("hosts: files dns\n")
        layer = archives.make_layer(root, target / "layer.tar")
        archives.write_archive(target / "image.tar", name, [layer], entrypoint=entrypoint, command=command)
        shutil.rmtree(root)

    parts = [*_RECIPE, binary.read_bytes(), *(library.read_bytes() for library in _libraries(binary))]
    return kept(f"image-{binary.name}-{digest(parts)}", build) / "image.tar"


def _libraries(binary: Path) -> Iterable[Path]:
    told = subprocess.run(["ldd", binary], capture_output=True, text=True, check=False).stdout
    yield from (Path(found) for found in re.findall(r"(/\S+)", told))
    for name in ("libnss_dns.so.2", "libnss_files.so.2", "libresolv.so.2"):
        place = Path("/lib/x86_64-linux-gnu", name)
        if place.exists():
            yield place


def _mongod() -> Path:
    wheel = importlib.util.find_spec("fiftyone")
    for root in wheel.submodule_search_locations or () if wheel else ():
        candidate = Path(root) / "db" / "bin" / "mongod"
        if candidate.exists():
            return candidate
    raise HarnessError("no mongod: install requirements/dev.txt")


def _program(name: str) -> Path:
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        raise HarnessError(f"no {name}: install requirements/dev.txt")
    return Path(found).resolve()


def _sources() -> Iterable[Path]:
    for folder in ("chatnode", "chatclient", "operator/chatoperator"):
        yield from (
            path for path in sorted((ROOT / folder).rglob("*")) if path.is_file() and "__pycache__" not in path.parts
        )
    yield ROOT / "requirements" / "operator.txt"
    yield skaffold.artifact().dockerfile


def chat() -> Path:
    """The project's own image, built by buildah of what ``skaffold.yaml`` names."""
    sources = (str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes() for path in _sources())
    stamp = digest([*_RECIPE, base_layer().parent.name.encode(), *sources])

    def build(target: Path) -> None:
        build_chat(target, "--layers")
        _forget_older("chat-", target)

    return kept(f"chat-{stamp}", build) / "image.tar"


def build_chat(target: Path, *options: str, tag: str = CHAT) -> None:
    """Leaves ``image.tar`` in the folder."""
    base, wheels, artifact = _base_archive(), _wheels(), skaffold.artifact()
    storage = ("--root", CACHE / "buildah", "--runroot", target / "run", "--storage-driver", "overlay")
    run(["buildah", *storage, "pull", "--quiet", f"oci-archive:{base}"])
    try:
        run(
            [
                *("buildah", *storage, "bud", "--quiet", "--isolation", "chroot", "--pull-never", *options),
                *("--timestamp", "0", "--build-arg", "BASE=localhost/base:test"),
                *("--build-arg", "PIP_OPTIONS=--no-index --find-links /wheels", "--volume", f"{wheels}:/wheels:ro"),
                *("--ignorefile", artifact.context / ".dockerignore"),
                *("-f", artifact.dockerfile, "-t", tag, artifact.context),
            ]
        )
        run(["buildah", *storage, "push", "--quiet", tag, f"oci-archive:{target / 'image.tar'}:{tag}"])
    finally:
        shutil.rmtree(target / "run", ignore_errors=True)


def _forget_older(prefix: str, keep: Path) -> None:
    """Of what changes with every edit, only a few are kept."""
    folders = sorted(
        (path for path in CACHE.glob(f"{prefix}*") if path.is_dir() and path != keep),
        key=lambda path: path.stat().st_mtime,
    )
    for folder in folders[:-2]:
        shutil.rmtree(folder, ignore_errors=True)


def _base_archive() -> Path:
    layer = base_layer()

    def build(target: Path) -> None:
        archives.write_archive(target / "image.tar", "localhost/base:test", [layer], command=["/bin/sh"])

    return kept(f"base-archive-{layer.parent.name[-12:]}", build) / "image.tar"


def _wheels() -> Path:
    lock = ROOT / "requirements" / "operator.txt"

    def build(target: Path) -> None:
        pip = [sys.executable, "-m", "pip"]
        if importlib.util.find_spec("pip") is None:
            run(["python3", "-m", "venv", target / "venv"])
            pip = [str(target / "venv" / "bin" / "python"), "-m", "pip"]
        say("downloading the image's packages")
        options = ["--only-binary", ":all:", "--python-version", "3.11", "--require-hashes"]
        run([*pip, "download", "--quiet", *options, "-r", lock, "-d", target])
        shutil.rmtree(target / "venv", ignore_errors=True)

    return kept(f"wheels-{digest([lock.read_bytes()])}", build)
