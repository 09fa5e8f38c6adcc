"""The time of day of one process, which can jump: ``jumping_clock.c``, loaded before the program.

It reaches programs that ask libc: nodes, workers, mongod. It does not reach nats-server, which is written in Go and
asks the kernel. The monotonic clock stays true, as it does when a real clock jumps. (Debian's libfaketime 0.9.10 does
not serve here: ``time.sleep`` of Python 3.11 fails under it with EINVAL, and an idle mongod uses ten times the CPU.)
"""

import shutil
import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_SOURCE: Final = Path(__file__).with_name("jumping_clock.c")
_OFFSET: Final = struct.Struct("=q")


def can_jump() -> bool:
    return shutil.which("cc") is not None


def build(directory: Path) -> Path:
    """The library, compiled into ``directory``."""
    library = directory / "jumping_clock.so"
    command = ("cc", "-O2", "-shared", "-fPIC", "-o", str(library), str(_SOURCE), "-ldl", "-lpthread")
    subprocess.run(command, check=True, timeout=60.0)
    return library


class Clock:
    """``path`` is the file that tells the process how far its clock is off."""

    def __init__(self, path: Path, library: Path) -> None:
        self._path = path
        self._library = library
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_OFFSET.pack(0))

    def environment(self) -> Mapping[str, str]:
        return {"LD_PRELOAD": str(self._library), "CHAT_CLOCK_FILE": str(self._path)}

    def jump(self, seconds: float) -> None:
        """Its clock is this far from the true time, from now on."""
        with self._path.open("r+b", buffering=0) as file:
            file.write(_OFFSET.pack(round(seconds * 1e9)))
