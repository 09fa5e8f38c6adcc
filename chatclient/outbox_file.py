"""The outbox as a file that several processes share. Everything here blocks: to be called from a thread.

``<path>`` is the journal. ``<path>.lock`` is held (flock) while a process writes to it; ``<path>.leader`` for as long
as a process is the one that sends. The kernel lets go of both when a process ends, however it ends.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from chatclient.errors import OutboxFailed
from chatclient.journal import Corrupt, Entry, Journal, decode_lines, encode_line

LOCK_S: Final = 5.0
"""How long another process may hold the file; it takes milliseconds, unless it is stopped."""
_LOCK_TRY_S: Final = 0.01
_MODE: Final = 0o600


@dataclass(frozen=True, slots=True)
class News:
    """``anew`` says that the file was replaced, and that these entries are all that it holds."""

    entries: list[Entry]
    anew: bool


class OutboxFile:
    """Raises :class:`OutboxFailed` where the file cannot be read or written, or holds what nobody wrote."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._leader: int | None = None
        self._inode = 0
        self._offset = 0

    @property
    def size(self) -> int:
        """Bytes that have been read."""
        return self._offset

    def read(self) -> News:
        """What was written since the last time, by whomever."""
        with _told(self._path):
            try:
                descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                anew = self._inode != 0
                self._inode = self._offset = 0
                return News([], anew)
            try:
                status = os.fstat(descriptor)
                anew = status.st_ino != self._inode or status.st_size < self._offset
                if anew:
                    self._inode, self._offset = status.st_ino, 0
                data = os.pread(descriptor, status.st_size - self._offset, self._offset)
            finally:
                os.close(descriptor)
            entries, whole = decode_lines(data)
            self._offset += whole
            return News(entries, anew)

    def append(self, entries: Sequence[Entry], *, durable: bool) -> None:
        """``durable``: returns once the disk has it. All of the entries are written, or none."""
        data = b"".join(map(encode_line, entries))
        with _told(self._path), self._locked():
            new = not self._path.exists()
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _MODE)
            try:
                end = _whole(descriptor)
                try:
                    _write(descriptor, data, end)
                    if durable:
                        os.fsync(descriptor)
                except OSError:
                    os.ftruncate(descriptor, end)
                    raise
            finally:
                os.close(descriptor)
            if new:
                _sync_folder(self._path)

    def compact(self, now: float) -> None:
        """Write the file anew, without what is over. For the leader alone."""
        with _told(self._path), self._locked():
            journal = Journal(decode_lines(self._path.read_bytes())[0])
            beside = self._path.with_name(f"{self._path.name}.new")
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, _MODE)
            try:
                _write(descriptor, b"".join(map(encode_line, journal.compacted(now))), 0)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            beside.replace(self._path)
            _sync_folder(self._path)

    def lead(self) -> bool:
        """Whether this process is the one that sends, from now on until :meth:`close`."""
        if self._leader is None:
            with _told(self._path):
                descriptor = os.open(self._beside("leader"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _MODE)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    os.close(descriptor)
                    return False
                self._leader = descriptor
        return True

    def close(self) -> None:
        if self._leader is not None:
            os.close(self._leader)
            self._leader = None

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        descriptor = os.open(self._beside("lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _MODE)
        try:
            deadline = time.monotonic() + LOCK_S
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise TimeoutError(f"another process has held it for {LOCK_S:g} s") from None
                    time.sleep(_LOCK_TRY_S)
            yield
        finally:
            os.close(descriptor)

    def _beside(self, what: str) -> Path:
        return self._path.with_name(f"{self._path.name}.{what}")


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, Corrupt) as error:
        raise OutboxFailed(f"the outbox {path} cannot be used: {error}; what it held is still in it") from error


def _whole(descriptor: int) -> int:
    """The end of the last whole line; what a crash tore behind it is cut off."""
    size = os.fstat(descriptor).st_size
    end, step = size, 4096
    while end > 0:
        begin = max(0, end - step)
        found = os.pread(descriptor, end - begin, begin).rfind(b"\n")
        if found >= 0:
            end = begin + found + 1
            break
        end = begin
    if end < size:
        os.ftruncate(descriptor, end)
    return end


def _write(descriptor: int, data: bytes, at: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, at)
        view, at = view[written:], at + written


def _sync_folder(path: Path) -> None:
    """A new name is durable once its folder is (fsync(2))."""
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
