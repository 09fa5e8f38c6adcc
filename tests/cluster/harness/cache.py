"""What is expensive to make is made once and kept outside the checkout, under a name made of all that goes into it."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "chatcluster" / "cluster"
_MARK = ".complete"


class HarnessError(Exception):
    """The real cluster cannot be made here: what is missing and what to do."""


def say(message: str) -> None:
    sys.stderr.write(f"cluster: {message}\n")
    sys.stderr.flush()


def digest(parts: Iterable[bytes]) -> str:
    whole = hashlib.sha256()
    for part in parts:
        whole.update(hashlib.sha256(part).digest())
    return whole.hexdigest()[:12]


def run(command: Sequence[str | Path], *, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
    """A command's output. :class:`HarnessError` with the end of what it said when it fails."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=None if env is None else {**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise HarnessError(f"{' '.join(map(str, command))} failed ({done.returncode}):\n{done.stdout[-4000:]}")
    return done.stdout


def kept(name: str, build: Callable[[Path], None]) -> Path:
    """The folder ``name`` in the cache, built unless it is whole; one process at a time."""
    folder = CACHE / name
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / _MARK).exists():
            say(f"making {name}")
            if folder.exists():
                shutil.rmtree(folder)
            folder.mkdir(parents=True)
            build(folder)
            (folder / _MARK).touch()
    return folder
