"""A child process: started tethered, its output read line by line, stopped for certain.

Everything runs in the thread of the event loop (see :mod:`chatnode.local.tether`).
"""

import asyncio
import contextlib
import errno
import os
import signal
import socket
import sys
import weakref
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

LineSink = Callable[[str], None]
"""Gets each line that a child prints, without its end."""

_TETHER: Final = str(Path(__file__).with_name("tether.py"))
_LINE_BYTES: Final = 64 * 1024
_KEPT_LINES: Final = 200


class ServerError(Exception):
    """A server that cannot be run: one line that says what happened, to what, and what to do."""


class HeldPort:
    """A free loopback port that is kept for a child of ours until this object is closed or gone.

    The socket behind it is bound and never listens. Once ``SO_REUSEADDR`` is set, who sets that too (as servers do) can
    bind and listen beside it, while the kernel gives the port to nobody who asks for just any, and to no outgoing
    connection. A port that is only looked up is taken by another test every few hundred times.
    """

    def __init__(self) -> None:
        holder = socket.socket()
        holder.bind(("127.0.0.1", 0))
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.number: int = holder.getsockname()[1]
        self.close = weakref.finalize(self, holder.close)


def free_port() -> int:
    """A loopback port that nobody listened on a moment ago."""
    held = HeldPort()
    held.close()
    return held.number


def check_port_free(port: int, what: str) -> None:
    """:class:`ServerError` when something listens there already: it would answer in the place of ``what``."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            why = (
                "is taken by another program"
                if error.errno == errno.EADDRINUSE
                else f"cannot be used ({error.strerror})"
            )
            raise ServerError(
                f"port {port} for {what} {why}: stop that program, or choose others with --port and --admin-port"
            ) from error


class Child:
    """One run of one program. Create it with :meth:`start`; it has ended when :meth:`wait` returns."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, sink: LineSink | None) -> None:
        self.name = name
        self.last_lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._process = process
        self._sink = sink
        self._reader = asyncio.create_task(self._read(), name=f"output of {name}")

    @classmethod
    async def start(
        cls,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        sink: LineSink | None = None,
    ) -> "Child":
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-I", "-S", _TETHER, str(os.getpid()), *command),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=environment,
        )
        return cls(name, process, sink)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative for the signal that ended it."""
        return self._process.returncode

    def signal(self, number: int) -> None:
        """Send a signal; nothing happens when the process has ended."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def wait(self) -> int:
        """The exit code, once the process has ended and all that it printed was read."""
        code = await self._process.wait()
        await asyncio.wait({self._reader}, timeout=1.0)
        return code

    async def stop(self, *, within_s: float) -> bool:
        """SIGTERM, and SIGKILL when it has not ended in time; whether it went by itself."""
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(within_s):
                await self.wait()
        except TimeoutError:
            return False
        else:
            return True
        finally:
            await self.kill()

    def kill_now(self) -> None:
        """SIGKILL to it and to what it started, without waiting for the end."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self.signal(signal.SIGKILL)

    async def kill(self) -> None:
        """SIGKILL to it and to what it started, and wait for its end; it is safe to call again."""
        self.kill_now()
        await self._process.wait()
        await asyncio.wait({self._reader}, timeout=1.0)
        self._reader.cancel()
        await asyncio.wait({self._reader})

    async def _read(self) -> None:
        stream = self._process.stdout
        if stream is None:
            return
        rest = b""
        while chunk := await stream.read(_LINE_BYTES):
            *lines, rest = (rest + chunk).split(b"\n")
            if len(rest) > _LINE_BYTES:
                lines.append(rest)
                rest = b""
            for line in lines:
                self._take(line)
        if rest:
            self._take(rest)

    def _take(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace").rstrip("\r")
        self.last_lines.append(text)
        if self._sink is not None:
            self._sink(text)


class Server(ABC):
    """A program that serves: started until it is ready, and started again on the same ports and data.

    As an async context manager it runs inside the block and is gone after it.
    """

    start_within_s: float = 60.0
    stop_within_s: float = 10.0
    niceness: int = 0
    """Above 0 it gives way to others where processors are full (``nice(1)``); read when it starts."""

    def __init__(self, name: str, port: int | None, *, sink: LineSink | None = None) -> None:
        self.name = name
        if port is None:
            self._held = HeldPort()
            port = self._held.number
        self.port = port
        self._sink = sink
        self._child: Child | None = None

    @abstractmethod
    def command(self) -> Sequence[str]:
        """The program and its arguments; writes what the program reads at its start."""

    def environment(self) -> Mapping[str, str] | None:
        """The program's environment; None for that of this process."""
        return None

    def check_ports(self) -> None:
        """:class:`ServerError` when somebody else listens where it wants to."""
        check_port_free(self.port, self.name)

    @abstractmethod
    async def probe(self) -> bool:
        """Whether it is ready for use; asked again and again, may raise OSError for "not yet"."""

    def explain(self, child: Child) -> str:
        """Why it ended before it was ready, in one line."""
        last = next((line.strip() for line in reversed(child.last_lines) if line.strip()), "it printed nothing")
        return f"{self.name} ended with {describe_exit(child.exit_code)}: {last[:500]}"

    @property
    def child(self) -> Child:
        """The current run; :class:`ServerError` before the first."""
        if self._child is None:
            raise ServerError(f"{self.name} was not started")
        return self._child

    @property
    def pid(self) -> int:
        return self.child.pid

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.exit_code is None

    async def start(self) -> None:
        """Start it and wait until it is ready; when that fails nothing is left running. :class:`ServerError`."""
        await self.launch()
        try:
            await self.wait_ready()
        except BaseException:
            await self.child.kill()
            raise

    async def launch(self) -> None:
        """Start the program without waiting for it."""
        if self.running:
            raise ServerError(f"{self.name} is running already")
        self.check_ports()
        try:
            command = self.command()
            if self.niceness:
                command = ("nice", "-n", str(self.niceness), *command)
            self._child = await Child.start(self.name, command, environment=self.environment(), sink=self._sink)
        except OSError as error:
            raise ServerError(f"{self.name} cannot be started: {error}") from error

    async def wait_ready(self) -> None:
        """Until it is ready; :class:`ServerError` when it ended or took longer than ``start_within_s``."""
        child = self.child
        try:
            async with asyncio.timeout(self.start_within_s):
                while not await self._probe_once():
                    if child.exit_code is not None:
                        await child.wait()
                        raise ServerError(self.explain(child))
                    await asyncio.sleep(0.05)
        except TimeoutError:
            last = child.last_lines[-1][:300] if child.last_lines else "nothing"
            raise ServerError(
                f"{self.name} was not ready within {self.start_within_s:g} s; the last that it printed: {last}"
            ) from None

    async def _probe_once(self) -> bool:
        try:
            return self.child.exit_code is None and await self.probe()
        except OSError:
            return False

    async def stop(self) -> bool:
        """Ask it to end, insist after ``stop_within_s``; whether it went by itself."""
        if self._child is None:
            return True
        return await self._child.stop(within_s=self.stop_within_s)

    async def kill(self) -> None:
        """``kill -9``: it has ended when this returns."""
        await self.child.kill()

    def pause(self) -> None:
        """SIGSTOP: alive, connected, silent."""
        self.child.signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.child.signal(signal.SIGCONT)

    async def restart(self) -> None:
        """End it if it runs, and start it again on the same port and data."""
        await self.stop()
        await self.start()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()


def describe_exit(code: int | None) -> str:
    """``exit code 1`` or ``SIGKILL``."""
    if code is not None and code < 0:
        try:
            return signal.Signals(-code).name
        except ValueError:
            return f"signal {-code}"
    return f"exit code {code}"
