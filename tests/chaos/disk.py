"""A small disk of a member's own, that can be filled and freed. Needs root."""

import os
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Final, Self

_BALLAST: Final = "ballast"
_BLOCK_BYTES: Final = 1 << 20


class Disk:
    """A tmpfs at ``path``, as a context manager; what is on it is gone afterwards."""

    def __init__(self, path: Path, size_mib: int) -> None:
        self.path = path
        self._size_mib = size_mib

    def __enter__(self) -> Self:
        self.path.mkdir(parents=True, exist_ok=True)
        size = f"size={self._size_mib}m"
        subprocess.run(("mount", "-t", "tmpfs", "-o", size, "chaos", str(self.path)), check=True, timeout=10.0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        subprocess.run(("umount", "--lazy", str(self.path)), check=True, timeout=10.0)

    def fill(self) -> None:
        """Nothing more can be written."""
        with (self.path / _BALLAST).open("ab", buffering=0) as file:
            size = _BLOCK_BYTES
            while size >= 4096:
                try:
                    os.posix_fallocate(file.fileno(), file.tell(), size)
                    file.seek(0, os.SEEK_END)
                except OSError:
                    size //= 2

    def free(self) -> None:
        (self.path / _BALLAST).unlink(missing_ok=True)
