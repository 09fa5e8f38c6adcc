"""Lines, a clock and futures around :class:`chatclient.machine.Machine`: what it says is done here."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

from chatclient.errors import Ended
from chatclient.ladder import End, Transport
from chatclient.lines.events import EventsLine
from chatclient.lines.line import CLOSE_S, OPEN_S, Ending, Line, Links
from chatclient.lines.polls import PollsLine
from chatclient.lines.websocket import WebSocketLine
from chatclient.machine import Machine
from chatclient.outputs import (
    Dial,
    DropProbe,
    FetchToken,
    Finish,
    Greeted,
    HangUp,
    Output,
    Probe,
    ProbeWrite,
    Reject,
    Settle,
    Switch,
    Write,
)
from chatnode.protocol import frames
from chatnode.protocol.errors import CloseCode
from chatnode.protocol.events import SubscribedEvent

TOKEN_RETRY_S: Final = 1.0
NO_TOKEN: Final = End(error="no_token")
"""The source of tokens failed for now, which says nothing about the transport."""

Token = str | Callable[[], Awaitable[str]]
Answer = frames.Ack | SubscribedEvent


class Watch(Protocol):
    def greeted(self, user: str) -> None: ...

    def settled(self, outcome: Settle | Reject) -> None: ...


class _Attempt:
    """One line from the token to its end, as long as it is wanted."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.opened = False
        self.wanted = True
        self.task: asyncio.Task[None] | None = None

    def hang_up(self, code: int, reason: str) -> None:
        self.wanted = False
        if self.opened:
            self.line.hang_up(code, reason)
        elif self.task is not None:
            self.task.cancel()


class Driver:
    """``urls`` are tried in turn. After each call of the machine, :meth:`apply` has to be called."""

    def __init__(self, machine: Machine, urls: Sequence[str], token: Token, clock: Callable[[], float]) -> None:
        self.welcome: frames.Welcome | None = None
        self.ended: Ended | None = None
        self.greeted = asyncio.Event()
        """Connected once, or ended."""
        self.finished = asyncio.Event()
        self.arrived = asyncio.Event()
        """There may be events to take."""
        self._machine = machine
        self._urls = tuple(urls)
        self._token = token
        self._clock = clock
        self._dials = 0
        self._answers: dict[str, asyncio.Future[Answer]] = {}
        self._watch: Watch | None = None
        self._attempt: _Attempt | None = None
        self._probe: _Attempt | None = None
        self._lines: set[asyncio.Task[None]] = set()
        self._group: asyncio.TaskGroup | None = None
        self._fetch = asyncio.Event()
        self._timer = asyncio.Event()
        self._armed: float | None = None
        """What the timer waits for."""
        self._tls: ssl.SSLContext | None = None

    def watch(self, watch: Watch) -> None:
        """Tell an outbox who is connected and what becomes of commands."""
        self._watch = watch

    # Calls and their answers.

    def expect(self, call: str) -> asyncio.Future[Answer]:
        if call in self._answers:
            raise ValueError(f"the command {call} is under way already; wait for it, or give a new id")
        waiting: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._answers[call] = waiting
        return waiting

    def forget(self, call: str) -> bool:
        """Nobody waits for it any more; whether somebody did until now."""
        return self._answers.pop(call, None) is not None

    def cut(self) -> None:
        """Break the connection off, as a network does."""
        if self._attempt is not None and self._attempt.opened:
            self._attempt.line.cut()

    # The machine's outputs.

    def apply(self) -> None:
        """Do what the machine says, and wake whoever has something to do now."""
        for output in self._machine.outputs():
            self._do(output)
        if self._machine.inbox.events:
            self.arrived.set()
        deadline = self._machine.deadline
        if deadline is not None and (self._armed is None or deadline < self._armed):
            self._timer.set()

    def _do(self, output: Output) -> None:
        match output:
            case Write() | Dial() | HangUp():
                self._do_on_line(output)
            case Probe() | ProbeWrite() | DropProbe() | Switch():
                self._do_on_probe(output)
            case Settle() | Reject():
                self._settle(output)
            case FetchToken():
                self._fetch.set()
            case Greeted(welcome):
                self._greet(welcome)
            case Finish(error):
                self._finish(error)

    def _greet(self, welcome: frames.Welcome) -> None:
        self.welcome = welcome
        self.greeted.set()
        if self._watch is not None:
            self._watch.greeted(welcome.user)

    def _finish(self, error: Ended | None) -> None:
        self.ended = error
        for call in list(self._answers):
            self.answer(Reject(call, error or Ended("the client was closed")))
        for event in (self.finished, self.greeted, self.arrived):
            event.set()

    def _settle(self, outcome: Settle | Reject) -> None:
        self.answer(outcome)
        if self._watch is not None:
            self._watch.settled(outcome)

    def answer(self, outcome: Settle | Reject) -> None:
        """Tell whoever waits for it."""
        waiting = self._answers.get(outcome.call)
        if waiting is None or waiting.done():
            return
        if isinstance(outcome, Settle):
            waiting.set_result(outcome.answer)
        else:
            waiting.set_exception(outcome.error)

    # Lines.

    def _do_on_line(self, output: Write | Dial | HangUp) -> None:
        match output:
            case Write(data):
                if self._attempt is not None:
                    self._attempt.line.write(data)
            case Dial(transport):
                self._attempt = self._begin(transport)
            case HangUp(code, reason):
                self._attempt = self._give_up(self._attempt, code, reason)

    def _do_on_probe(self, output: Probe | ProbeWrite | DropProbe | Switch) -> None:
        match output:
            case Probe(transport):
                self._probe = self._begin(transport)
            case ProbeWrite(data):
                if self._probe is not None:
                    self._probe.line.write(data)
            case DropProbe():
                self._probe = self._give_up(self._probe, CloseCode.NORMAL, "not needed")
            case Switch():
                self._give_up(self._attempt, CloseCode.NORMAL, "there is a better transport")
                self._attempt, self._probe = self._probe, None

    def _begin(self, transport: Transport) -> _Attempt | None:
        if self._group is None:
            return None
        attempt = _Attempt(self._line(transport))
        attempt.task = self._group.create_task(self._run_line(attempt), name=f"chatclient-{transport.value}")
        self._lines.add(attempt.task)
        attempt.task.add_done_callback(self._lines.discard)
        return attempt

    @staticmethod
    def _give_up(attempt: _Attempt | None, code: int, reason: str) -> None:
        if attempt is not None:
            attempt.hang_up(code, reason)

    def _line(self, transport: Transport) -> Line:
        url = self._urls[self._dials % len(self._urls)]
        self._dials += 1
        match transport:
            case Transport.WEBSOCKET:
                return WebSocketLine(url)
            case Transport.SSE:
                return EventsLine(url, self._tls_of(url))
            case Transport.POLL:
                return PollsLine(url, self._tls_of(url))

    def _tls_of(self, url: str) -> ssl.SSLContext:
        """Reading the authorities takes a while: once, and not where there is nothing to verify."""
        if not url.startswith("wss:"):
            return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if self._tls is None:
            self._tls = ssl.create_default_context()
        return self._tls

    async def _run_line(self, attempt: _Attempt) -> None:
        try:
            token = await self._get_token()
        except Ended as end:
            if attempt.wanted:
                self._machine.fail(end)
                self.apply()
            return
        except (OSError, TimeoutError) as error:
            self._over(attempt, Ending(NO_TOKEN, f"no token for now: {error!r}"))
            return
        links = Links(lambda: self._opened(attempt, token), lambda data: self._heard(attempt, data))
        self._over(attempt, await attempt.line.run(token, links))

    def _opened(self, attempt: _Attempt, token: str) -> None:
        attempt.opened = True
        if attempt is self._attempt:
            self._machine.opened(self._clock(), token)
        elif attempt is self._probe:
            self._machine.probe_opened(token)
        self.apply()

    def _heard(self, attempt: _Attempt, data: bytes) -> None:
        if attempt is self._attempt:
            self._machine.received(self._clock(), data)
        elif attempt is self._probe:
            self._machine.probe_received(self._clock(), data)
        self.apply()

    def _over(self, attempt: _Attempt, ending: Ending) -> None:
        if attempt is self._attempt:
            self._attempt = None
            if ending.wrong_address:
                self._machine.fail(Ended(ending.reason))
            else:
                self._machine.ended(self._clock(), ending.end, ending.reason)
        elif attempt is self._probe:
            self._probe = None
            self._machine.probe_ended(self._clock(), ending.end)
        self.apply()

    # Tasks.

    async def run(self) -> None:
        """Everything that runs for this client, until it ends."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            tasks = [group.create_task(self._keep_time()), group.create_task(self._keep_token())]
            self._machine.start(self._clock())
            self.apply()
            await self.finished.wait()
            if self._lines:
                await asyncio.wait(self._lines, timeout=2 * CLOSE_S)
            for task in (*tasks, *self._lines):
                task.cancel()
        self._group = None

    async def _keep_time(self) -> None:
        while True:
            self._timer.clear()
            self._armed = self._machine.deadline
            try:
                async with asyncio.timeout(None if self._armed is None else max(0.0, self._armed - self._clock())):
                    await self._timer.wait()
            except TimeoutError:
                self._machine.tick(self._clock())
                self.apply()

    async def _keep_token(self) -> None:
        while True:
            await self._fetch.wait()
            self._fetch.clear()
            try:
                token = await self._get_token()
            except (OSError, TimeoutError):
                await asyncio.sleep(TOKEN_RETRY_S)
                self._fetch.set()
                continue
            except Ended as end:
                self._machine.fail(end)
            else:
                self._machine.token(self._clock(), token)
            self.apply()

    async def _get_token(self) -> str:
        """From the owner; OSError or TimeoutError where it may be had later, else :class:`Ended`."""
        if isinstance(self._token, str):
            return self._token
        try:
            async with asyncio.timeout(OPEN_S):
                return await self._token()
        except (OSError, TimeoutError):
            raise
        except Exception as error:
            raise Ended(f"no token can be had: {error!r}") from error
