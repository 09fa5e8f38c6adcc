"""Whether what a process holds grows while it does the same for long."""

from collections.abc import Mapping
from statistics import fmean
from typing import Final

MEMORY_PERCENT: Final = 3.0
"""By how much memory may be higher in the last quarter than in the second."""
COUNTED: Final = 2.0
"""By how many, on average, files, tasks and the like: samples may fall between a socket's end and its last task's."""
_MEMORY: Final = "_mib"


class Soak:
    """Samples in the order of their ages."""

    def __init__(self) -> None:
        self._samples: list[tuple[float, Mapping[str, float]]] = []

    def add(self, age_s: float, sample: Mapping[str, float]) -> None:
        self._samples.append((age_s, sample))

    def growth(self) -> dict[str, float]:
        """By how much each figure's mean is higher in the last quarter of the time than in the second: memory
        (named ``…_mib``) in percent, else in its own unit.

        The first quarter is left out: caches and pools fill then. Nothing where a quarter has no sample.
        """
        end = max((age for age, _ in self._samples), default=0.0)
        early = [sample for age, sample in self._samples if end / 4 <= age < end / 2]
        late = [sample for age, sample in self._samples if age >= end * 3 / 4]
        if not early or not late:
            return {}
        means = {name: (fmean(one[name] for one in early), fmean(one[name] for one in late)) for name in late[0]}
        return {
            name: (after - before) / (before / 100 if name.endswith(_MEMORY) else 1)
            for name, (before, after) in means.items()
        }

    def grown(self) -> list[str]:
        """Names of what grew by more than is allowed."""
        return [
            name for name, by in self.growth().items() if by > (MEMORY_PERCENT if name.endswith(_MEMORY) else COUNTED)
        ]
