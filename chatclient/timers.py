"""Named times at which something is due. Pure."""


class Timers:
    def __init__(self) -> None:
        self._at: dict[str, float] = {}

    @property
    def deadline(self) -> float | None:
        return min(self._at.values()) if self._at else None

    def set(self, name: str, at: float | None) -> None:
        """At this time and no other; None: not at all."""
        if at is None:
            self._at.pop(name, None)
        else:
            self._at[name] = at

    def arm(self, name: str, at: float) -> None:
        """At this time or before it."""
        self._at[name] = min(at, self._at.get(name, at))

    def due(self, now: float) -> list[str]:
        return [name for name, at in self._at.items() if at <= now]

    def take(self, name: str) -> bool:
        """Whether it is still wanted, which then it is no more."""
        return self._at.pop(name, None) is not None

    def clear(self) -> None:
        self._at.clear()
