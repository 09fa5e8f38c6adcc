"""Make the virtual environment of one lock file, and print where it is: ``python3 environment.py local|dev``.

It lives outside the checkout, in ``$XDG_CACHE_HOME/chatcluster`` (``~/.cache/chatcluster``), under a name that is made
of all that goes into it; a change of the lock file gives another one. A build that was interrupted is begun anew: only
what has its mark is whole. Any Python since 3.7 can read this file, so that an old one can say what is wrong with it.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

OLDEST = (3, 11)
ROOT = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "chatcluster"
_MARK = "complete"


def fail(message: str) -> NoReturn:
    """End with one line."""
    sys.exit("make: " + message)


def say(message: str) -> None:
    print("make: " + message, file=sys.stderr, flush=True)


def use_a_python_that_is_new_enough() -> None:
    """Go on in a newer Python where this one is too old and another one is there."""
    if sys.version_info >= OLDEST:
        return
    for minor in range(19, OLDEST[1] - 1, -1):
        other = shutil.which(f"python3.{minor}")
        if other and subprocess.call([other, "-c", ""], stderr=subprocess.DEVNULL) == 0:
            os.execv(other, [other, *sys.argv])
    have = "{}.{}".format(*sys.version_info[:2])
    fail(f"Python 3.11 or newer is needed, {sys.executable} is {have}: install one, or name it with PYTHON=...")


def digest(*parts: bytes) -> str:
    whole = hashlib.sha256()
    for part in parts:
        whole.update(hashlib.sha256(part).digest())
    return whole.hexdigest()[:12]


def run(command: Sequence[str | Path], what: str) -> None:
    """Run a command, its output on stderr; one line when it fails."""
    try:
        code = subprocess.call([str(part) for part in command], stdout=sys.stderr.fileno())
    except KeyboardInterrupt:
        sys.exit(130)
    if code:
        fail(f"{what} did not work (see above): check the network and the free space, and run the same command again")


def built(directory: Path, build: Callable[[Path], None]) -> Path:
    """The directory, built by ``build(directory)`` unless it is whole already; one process at a time."""
    try:
        CACHE.mkdir(parents=True, exist_ok=True)
        with directory.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (directory / _MARK).exists():
                shutil.rmtree(str(directory), ignore_errors=True)
                build(directory)
                (directory / _MARK).touch()
    except OSError as error:
        fail(f"cannot write {CACHE} ({error.strerror}): make it writable or set XDG_CACHE_HOME")
    return directory


def uv() -> list[str]:
    """Command line that runs uv: the one on PATH, else one that pip installs here from the locked requirement."""
    found = shutil.which("uv")
    if found:
        return [found]
    lock = ROOT / "requirements" / "uv.txt"
    directory = CACHE / f"uv-{digest(lock.read_bytes(), _machine())}"
    built(directory, lambda where: _install_uv(where, lock))
    return [str(directory / "bin" / "uv")]


def _install_uv(where: Path, lock: Path) -> None:
    say("installing uv")
    locked: list[str | Path] = ["--quiet", "--disable-pip-version-check", "--require-hashes", "-r", lock]
    if importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip"):
        run([sys.executable, "-m", "venv", where], "making a virtual environment")
        run([where / "bin" / "python", "-m", "pip", "install", *locked], "installing uv")
    elif importlib.util.find_spec("pip"):
        run([sys.executable, "-m", "pip", "install", "--target", where, *locked], "installing uv")
    else:
        fail(f"{sys.executable} has neither venv nor pip: install one (apt-get install python3-venv), or uv")


def _machine() -> bytes:
    return f"{sys.version_info[:2]} {platform.system()} {platform.machine()}".encode()


def environment(name: str) -> Path:
    """Directory of the environment of ``requirements/<name>.txt``."""
    lock = ROOT / "requirements" / f"{name}.txt"
    directory = CACHE / f"venv-{digest(lock.read_bytes(), _machine())}"

    def build(where: Path) -> None:
        installer = uv()
        say(f"installing {lock.relative_to(ROOT)} into {where} (once; some minutes when nothing is cached)")
        run([*installer, "venv", "--quiet", "--python", sys.executable, where], "making a virtual environment")
        sync: list[str | Path] = ["pip", "sync", "--require-hashes", "--python", where / "bin" / "python", lock]
        run([*installer, *sync], "installing packages")

    return built(directory, build)


if __name__ == "__main__":
    use_a_python_that_is_new_enough()
    print(environment(sys.argv[1]))
