"""Network namespaces of a run's own: one for each member, all on one bridge, every direction of every link apart.

Needs root and iproute2, iptables. The run's process moves into the bridge's namespace, so that no address, route or
rule of the machine is touched.
"""

import ctypes
import os
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.chaos.servers import Site

_CLONE_NEWNET: Final = 0x40000000
_FOLDER: Final = Path("/run/netns")


class NetworkError(Exception):
    """A namespace, link or rule that could not be made."""


class Network:
    """A context manager: inside, this process is in the bridge's namespace; afterwards, all namespaces are gone."""

    def __init__(self, names: Sequence[str], tag: str) -> None:
        self._tag = tag
        self._hosts = {name: f"10.99.0.{number}" for number, name in enumerate(names, 10)}
        self._made: list[str] = []
        self._home: int | None = None
        self._cuts: list[tuple[str, str]] = []
        self._dice: dict[str, tuple[str, ...]] = {}

    def __enter__(self) -> Self:
        try:
            self._make()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    def site(self, name: str) -> Site:
        return Site(self._hosts[name], ("ip", "netns", "exec", self._namespace(name)))

    def cut(self, origin: str, target: str) -> None:
        """Nothing that ``origin`` sends reaches ``target`` any more; the other direction goes on."""
        self._cuts.append((origin, target))
        self._rule("-A", target, self._from(origin))

    def cut_all(self, cuts: Iterable[tuple[str, str]]) -> None:
        """Several, each from an origin to a target."""
        for origin, target in cuts:
            self.cut(origin, target)

    def lose(self, target: str, share: float) -> None:
        """This share of all packets to ``target`` is lost, so that everything becomes slow and uneven."""
        dice = ("-m", "statistic", "--mode", "random", "--probability", str(share))
        self._dice[target] = dice
        self._rule("-A", target, dice)

    def mend(self, name: str, others: Iterable[str]) -> None:
        """``name`` reaches these again, and they reach it; cuts between others stay."""
        dice = self._dice.pop(name, None)
        if dice is not None:
            self._rule("-D", name, dice)
        pairs = {pair for other in others for pair in ((name, other), (other, name))}
        for origin, target in [cut for cut in self._cuts if cut in pairs]:
            self._cuts.remove((origin, target))
            self._rule("-D", target, self._from(origin))

    def _from(self, origin: str) -> tuple[str, ...]:
        return ("-s", self._hosts[origin])

    def _rule(self, change: str, target: str, match: tuple[str, ...]) -> None:
        self._inside(target, "iptables", "-w", change, "INPUT", *match, "-j", "DROP")

    def _make(self) -> None:
        hub = self._namespace("hub")
        self._add(hub)
        _run("ip", "-n", hub, "link", "add", "chat0", "type", "bridge")
        _run("ip", "-n", hub, "address", "add", "10.99.0.1/24", "dev", "chat0")
        _run("ip", "-n", hub, "link", "set", "chat0", "up")
        for number, (name, host) in enumerate(self._hosts.items()):
            space = self._namespace(name)
            self._add(space)
            port = f"port{number}"
            _run("ip", "-n", hub, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", space)
            _run("ip", "-n", hub, "link", "set", port, "master", "chat0", "up")
            _run("ip", "-n", space, "address", "add", f"{host}/24", "dev", "eth0")
            _run("ip", "-n", space, "link", "set", "eth0", "up")
        self._home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        with (_FOLDER / hub).open("rb") as space:
            _enter(space.fileno())

    def _add(self, space: str) -> None:
        _run("ip", "netns", "add", space)
        self._made.append(space)
        _run("ip", "-n", space, "link", "set", "lo", "up")

    def _remove(self) -> None:
        if self._home is not None:
            _enter(self._home)
            os.close(self._home)
            self._home = None
        while self._made:
            _run("ip", "netns", "delete", self._made.pop())

    def _namespace(self, name: str) -> str:
        return f"{self._tag}-{name}"

    def _inside(self, name: str, *command: str) -> None:
        _run("ip", "netns", "exec", self._namespace(name), *command)


def _enter(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _CLONE_NEWNET) != 0:
        raise NetworkError(f"setns: {os.strerror(ctypes.get_errno())}; namespaces need root")


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=10.0, check=False)
    if done.returncode != 0:
        raise NetworkError(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()}")
