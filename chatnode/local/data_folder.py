"""The folder that holds everything of a local cluster; one run at a time."""

import contextlib
import fcntl
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from chatnode.local.children import ServerError

_MARK: Final = "chatcluster-data"
_SPACE_TO_START: Final = 1024**3
_SPACE_TO_GO_ON: Final = 128 * 1024**2
_OURS: Final = frozenset({_MARK, "lock", "nats", "mongodb", "envoy", "logs", "jwt-secret", "demo-done"})


class DataFolder:
    """Paths inside an open data folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.nats = path / "nats"
        self.mongodb = path / "mongodb"
        self.envoy = path / "envoy"
        self.logs = path / "logs"
        self.secret = path / "jwt-secret"
        self.demo_done = path / "demo-done"
        """Exists once the demo's rooms and messages were made."""


def free_bytes(path: Path) -> int:
    """How much the disk of ``path`` has left."""
    return shutil.disk_usage(path).free


@contextlib.contextmanager
def open_data_folder(
    path: Path, *, fresh: bool = False, free: Callable[[Path], int] = free_bytes
) -> Iterator[DataFolder]:
    """Make or take the folder, for this process alone, inside the block; :class:`ServerError` when that cannot be.

    ``fresh`` empties it, but only when it is a data folder or empty: never somebody's documents. ``free`` tells the
    bytes that its disk has left.
    """
    path = path.absolute()
    if path.exists() and not path.is_dir():
        raise ServerError(f"{path} is not a folder: choose another with --data")
    try:
        lock = _lock(path)
    except OSError as error:
        raise ServerError(_explain(path, error)) from error
    try:
        if fresh:
            _empty(path)
        check_space(path, free(path))
        folder = DataFolder(path)
        folder.logs.mkdir(exist_ok=True)
        _make_secret(folder.secret)
        yield folder
    except OSError as error:
        if error.filename is None or not str(error.filename).startswith(str(path)):
            raise
        raise ServerError(_explain(path, error)) from error
    finally:
        os.close(lock)


def _explain(path: Path, error: OSError) -> str:
    return f"cannot use the data folder {path} ({error.strerror}): make it writable, or choose another with --data"


def _lock(path: Path) -> int:
    path.mkdir(parents=True, exist_ok=True)
    foreign = next((entry.name for entry in path.iterdir() if entry.name not in _OURS), None)
    if foreign is not None and not (path / _MARK).exists():
        raise ServerError(f"{path} holds other things ({foreign}): choose an empty or a new folder with --data")
    lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(lock, 32).decode("ascii", "replace").strip() or "unknown"
        os.close(lock)
        raise ServerError(
            f"the data folder {path} is in use by another run (process {holder}): stop that, "
            "or choose another folder with --data"
        ) from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    (path / _MARK).touch()
    return lock


def _empty(path: Path) -> None:
    for name in sorted(_OURS - {_MARK, "lock"}):
        entry = path / name
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink(missing_ok=True)


def check_space(path: Path, free: int, *, running: bool = False) -> None:
    """:class:`ServerError` when the disk is so full that servers should not start, or while they run, go on.

    ``free`` in bytes. They stop while there is room to stop in: what they write then is needed to start again.
    """
    needed = _SPACE_TO_GO_ON if running else _SPACE_TO_START
    if free < needed:
        raise ServerError(
            f"only {free // 1024**2} MiB are free on the disk of {path}, {needed // 1024**2} MiB are needed: "
            "free some, or choose a folder on another disk with --data"
        )


def _make_secret(path: Path) -> None:
    """A signing key for this folder's tokens, readable by its owner alone; kept, so that tokens outlive a restart."""
    if path.exists():
        return
    partial = path.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    partial.touch(mode=0o600)
    partial.write_text(secrets.token_urlsafe(48), "ascii")
    partial.rename(path)
