"""What ``chatcluster up`` prints: progress while it starts, then one log of what matters."""

import sys
from collections.abc import Callable, Sequence
from typing import Final, TextIO

from chatnode.identity.demo_users import DemoUser
from chatnode.local.notices import Died, Notice, Ready, Said, Starting, Stopped

_WIDTH: Final = 11
_ROLE_WORDS: Final = {"trainer": "trainer", "moderator": "moderator", "learner": "learner"}


def say(notice: Notice) -> tuple[str, str]:
    """Who, and what about it, in words."""
    match notice:
        case Starting(name):
            return name, "starting"
        case Ready(name, seconds, where, pid):
            return name, f"ready on {where}, process {pid} ({seconds:.1f} s)"
        case Died(name, why, again_s):
            return name, f"{why}; starting it again in {again_s:g} s"
        case Stopped(name, willingly):
            return name, "stopped" if willingly else "did not stop in time and was killed"
        case Said(name, words):
            return name, words


def welcome(url: str, nodes: Sequence[str], users: Sequence[DemoUser], data: str) -> str:
    """What to do next, once everything is ready."""
    width = max(len(user.user) for user in users)
    people = [f"    {user.user:<{width}}  {user.name}, {user.role}" for user in users]
    lines = [
        "",
        f"  Open {url}",
        f"  Nodes {'  '.join(nodes)}",
        "  Sign in as",
        *people,
        "",
        f"  Data and logs are in {data}. Ctrl-C stops everything.",
        "",
    ]
    return "\n".join(lines)


class Console:
    """Prints lines with the name of who they are about; names what is awaited on a terminal's last line.

    When nobody reads any longer (a closed pipe) it says no more, and ``on_closed`` is called once.
    """

    def __init__(self, stream: TextIO | None = None, *, on_closed: Callable[[], None] = lambda: None) -> None:
        self._stream = stream or sys.stdout
        self._terminal = self._stream.isatty()
        self._on_closed = on_closed
        self._awaited: list[str] = []
        self._closed = False

    def notify(self, notice: Notice) -> None:
        name, words = say(notice)
        if isinstance(notice, Starting):
            self._awaited.append(name)
        if isinstance(notice, Ready | Died) and name in self._awaited:
            self._awaited.remove(name)
        if isinstance(notice, Starting) and self._terminal:
            self._write("")
            return
        self._write(f"{name:>{_WIDTH}} │ {words}\n")

    def settle(self) -> None:
        """Nothing is awaited any longer."""
        self._awaited.clear()
        self._write("")

    def tell(self, text: str) -> None:
        self._write(f"{text}\n")

    def _write(self, text: str) -> None:
        if self._closed:
            return
        waiting = f"\x1b[2m{'':>{_WIDTH}} │ waiting for {', '.join(self._awaited)}…\x1b[0m" if self._awaited else ""
        try:
            self._stream.write(f"\r\x1b[K{text}{waiting}" if self._terminal else text)
            self._stream.flush()
        except (OSError, ValueError):
            self._closed = True
            self._on_closed()
