"""What is built or installed before anything is measured: once per content, outside the checkout."""

import os
import shutil
import subprocess
from pathlib import Path

import environment

HERE = Path(__file__).parent
GO = {"CGO_ENABLED": "0", "GOFLAGS": "-trimpath"}


def load_program() -> Path:
    """The crowd of clients."""
    folder = HERE / "load"
    sources = [*sorted(folder.glob("*.go")), folder / "go.mod"]
    return _go("load", sources, folder, ".")


def nats_program() -> Path:
    """The ``nats`` command, for ``nats bench``."""
    folder = HERE / "nats"
    return _go("nats", [folder / "go.mod", folder / "go.sum"], folder, "github.com/nats-io/natscli/nats")


def _go(name: str, sources: list[Path], folder: Path, package: str) -> Path:
    if shutil.which("go") is None:
        environment.fail(f"no Go toolchain on PATH, which builds {name} for the benchmark: install Go 1.26 or newer")
    key = environment.digest(*(source.read_bytes() for source in sources))

    def build(where: Path) -> None:
        environment.say(f"building {name} (once)")
        where.mkdir(parents=True)
        code = subprocess.call(["go", "build", "-o", str(where / name), package], cwd=folder, env={**os.environ, **GO})
        if code:
            environment.fail(f"building {name} did not work (see above)")

    return environment.built(environment.CACHE / f"bench-{name}-{key}", build) / name


def socketio_folder() -> Path:
    """A folder with Socket.IO's packages and the server."""
    folder = HERE / "socketio"
    names = ("package.json", "package-lock.json", ".npmrc", "server.js")
    key = environment.digest(*((folder / name).read_bytes() for name in names))

    def build(where: Path) -> None:
        environment.say("installing Socket.IO (once)")
        where.mkdir(parents=True)
        for name in names:
            shutil.copy(folder / name, where / name)
        if subprocess.call(["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"], cwd=where):
            environment.fail("npm ci for Socket.IO did not work (see above)")

    return environment.built(environment.CACHE / f"bench-socketio-{key}", build)
