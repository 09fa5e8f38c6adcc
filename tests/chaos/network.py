"""Network namespaces of a run's own: one for each member, all on one bridge, every direction of every link apart.

Needs root and iproute2, iptables. The run's process moves into the bridge's namespace, so that no address, route or
rule of the machine is touched. Latency and throttling need no netem: :mod:`tests.chaos.shaper` holds packets back.
"""

import contextlib
import ctypes
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.chaos.servers import Site

_CLONE_NEWNET: Final = 0x40000000
_FOLDER: Final = Path("/run/netns")
_SHAPER: Final = str(Path(__file__).with_name("shaper.py"))
HUB: Final = "10.99.0.1"
"""Where the run's own process is."""
_NO_RESETS: Final = ("OUTPUT", "-p", "tcp", "--tcp-flags", "RST", "RST", "-j", "DROP")


class NetworkError(Exception):
    """A namespace, link or rule that could not be made."""


class Network:
    """A context manager: inside, this process is in the bridge's namespace; afterwards, all namespaces are gone."""

    def __init__(self, names: Sequence[str], tag: str) -> None:
        self._tag = tag
        self._hosts = {name: f"10.99.0.{number}" for number, name in enumerate(names, 10)}
        self._made: list[str] = []
        self._home: int | None = None
        self._shapers: dict[str, subprocess.Popen[bytes]] = {}

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

    def cut(self, name: str, others: Iterable[str], *, hears: bool = False, reaches: bool = False) -> None:
        """Between ``name`` and these nothing goes, but what it still ``hears``, or what still ``reaches`` them.

        Cuts add up: each is undone by a :meth:`mend` of its own, with the same arguments.
        """
        self._rules("-A", name, others, hears=hears, reaches=reaches)

    def mend(self, name: str, others: Iterable[str], *, hears: bool = False, reaches: bool = False) -> None:
        self._rules("-D", name, others, hears=hears, reaches=reaches)

    def _rules(self, change: str, name: str, others: Iterable[str], *, hears: bool, reaches: bool) -> None:
        hosts = [self._hosts[other] for other in others]
        rules = [] if hears else [f"{change} INPUT -s {host} -j DROP" for host in hosts]
        rules += [] if reaches else [f"{change} OUTPUT -d {host} -j DROP" for host in hosts]
        table = "\n".join(["*filter", *rules, "COMMIT", ""])
        _run("ip", "netns", "exec", self._namespace(name), "iptables-restore", "-w", "--noflush", given=table)

    def lose(self, name: str, share: float) -> None:
        """This share of all packets to ``name`` is lost, so that everything becomes slow and uneven."""
        self._lossy("-A", name, share)

    def lose_no_more(self, name: str, share: float) -> None:
        self._lossy("-D", name, share)

    def _lossy(self, change: str, name: str, share: float) -> None:
        dice = ("-m", "statistic", "--mode", "random", "--probability", str(share))
        self._inside(name, "iptables", "-w", change, "INPUT", "-i", "eth0", *dice, "-j", "DROP")

    def shape(self, name: str, *, delay_ms: float = 0.0, jitter_ms: float = 0.0, rate_kbit: float = 0.0) -> None:
        """What ``name`` receives comes later, and no faster than that, until :meth:`unshape`; 0 is no limit."""
        wanted = (str(delay_ms), str(jitter_ms), str(rate_kbit))
        command = ("ip", "netns", "exec", self._namespace(name), sys.executable, "-I", "-S", _SHAPER, *wanted)
        shaper = subprocess.Popen(command, stdout=subprocess.PIPE)
        self._shapers[name] = shaper
        if shaper.stdout is None or shaper.stdout.readline() != b"ready\n":
            self.unshape(name)
            raise NetworkError(f"packets to {name} cannot be held back; that needs NFQUEUE in the kernel")
        self._inside(name, "iptables", "-w", "-A", "INPUT", "-i", "eth0", "-j", "NFQUEUE", "--queue-bypass")

    def unshape(self, name: str) -> None:
        shaper = self._shapers.pop(name)
        with contextlib.suppress(NetworkError):
            self._inside(name, "iptables", "-w", "-D", "INPUT", "-i", "eth0", "-j", "NFQUEUE", "--queue-bypass")
        shaper.terminate()
        shaper.wait(5.0)
        if shaper.stdout is not None:
            shaper.stdout.close()

    def reset(self, name: str) -> None:
        """Every connection of ``name`` is reset, at both ends."""
        self._inside(name, "ss", "-K", "-t", "state", "established")

    def half_open(self, name: str) -> None:
        """``name`` loses every connection, and no other end is told, not even when it sends, until :meth:`whole`."""
        self._inside(name, "iptables", "-w", "-A", *_NO_RESETS)
        self.reset(name)

    def whole(self, name: str) -> None:
        self._inside(name, "iptables", "-w", "-D", *_NO_RESETS)

    def _make(self) -> None:
        hub = self._namespace("hub")
        self._add(hub)
        _run("ip", "-n", hub, "link", "add", "chat0", "type", "bridge")
        _run("ip", "-n", hub, "address", "add", f"{HUB}/24", "dev", "chat0")
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
        for name in list(self._shapers):
            self.unshape(name)
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


def _run(*command: str, given: str | None = None) -> None:
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=20.0, check=False)
    if done.returncode != 0:
        raise NetworkError(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()}")
