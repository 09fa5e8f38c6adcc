"""What the kernel tells about processes and the machine."""

import os
import platform
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_TICK_S: Final = 1 / os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """User and system time of a process with all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK_S


def rss_kib(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text("ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


def open_files(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def busy_s() -> float:
    """What all cores together have worked, since the start of the machine."""
    user, nice, system, _idle, _iowait, irq, softirq, *_ = map(
        int, Path("/proc/stat").read_text().split("\n")[0].split()[1:]
    )
    return (user + nice + system + irq + softirq) * _TICK_S


@dataclass(frozen=True, slots=True)
class Spent:
    """Processor seconds at one moment, or between two."""

    server: float
    beside: Mapping[str, float]
    machine: float

    @classmethod
    def now(cls, servers: Iterable[int], beside: Mapping[str, int]) -> "Spent":
        return cls(sum(map(cpu_s, servers)), {name: cpu_s(pid) for name, pid in beside.items()}, busy_s())

    def since(self, earlier: "Spent") -> "Spent":
        return Spent(
            self.server - earlier.server,
            {name: spent - earlier.beside[name] for name, spent in self.beside.items()},
            self.machine - earlier.machine,
        )


def describe() -> dict[str, str]:
    """The machine and the state of the checkout, for the report."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    dirty = subprocess.run(
        ["git", "status", "--porcelain", "chatnode", "benchmarks"], capture_output=True, text=True, check=False
    )
    return {
        "processor": model,
        "cores": str(os.cpu_count()),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "commit": (commit.stdout.strip() or "unknown") + (" with changes" if dirty.stdout.strip() else ""),
        "load_before": f"{os.getloadavg()[0]:.2f}",
    }


def load() -> float:
    """How many processes wanted a processor during the last minute."""
    return os.getloadavg()[0]
