"""``chatcluster up``: the cluster on this machine, watched over until somebody stops it."""

import asyncio
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from chatnode.identity.demo_users import DEMO_USERS
from chatnode.local.chat_process import Ports
from chatnode.local.children import ServerError
from chatnode.local.cluster import LocalCluster
from chatnode.local.console import Console, welcome

_FAILED: Final = 1
_INTERRUPTED: Final = 130
_STATIC: Final = Path(__file__).parents[1] / "static" / "index.html"


@dataclass(frozen=True, slots=True)
class UpOptions:
    """The command's arguments (``chatcluster up --help``)."""

    data: Path
    nodes: int
    port: int
    admin_port: int
    fresh: bool
    demo: bool


def run_up(options: UpOptions, env: Mapping[str, str]) -> int:
    """Run until it is stopped; the exit code. In the main thread, which children are tethered to."""
    return asyncio.run(_Up(options, env).run())


class _Up:
    def __init__(self, options: UpOptions, env: Mapping[str, str]) -> None:
        self._options = options
        self._enough = asyncio.Event()
        self._signals = 0
        self._console = Console(on_closed=self._enough.set)
        self._cluster = LocalCluster(
            options.data,
            ports=Ports.counted(options.port, options.admin_port, options.nodes),
            env=env,
            restart=True,
            fresh=options.fresh,
            notify=self._console.notify,
        )

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._asked_to_stop)
        try:
            return await self._run()
        except ServerError as error:
            return self._fail(error)

    async def _run(self) -> int:
        start = asyncio.create_task(self._start())
        enough = asyncio.create_task(self._enough.wait())
        try:
            await asyncio.wait({start, enough}, return_when=asyncio.FIRST_COMPLETED)
            if not start.done():
                return _INTERRUPTED
            await start
            given_up = asyncio.create_task(self._cluster.wait_given_up())
            await asyncio.wait({given_up, enough}, return_when=asyncio.FIRST_COMPLETED)
            if given_up.done():
                return self._fail(await given_up)
            given_up.cancel()
            return 0
        finally:
            start.cancel()
            enough.cancel()
            await asyncio.wait({start, enough})
            self._console.settle()
            await self._cluster.stop()

    async def _start(self) -> None:
        options = self._options
        await self._cluster.start()
        self._console.settle()
        if options.demo:
            await self._furnish()
        if not _STATIC.exists():
            self._console.tell("  The web client is not built: make web builds it.")
        names = ", ".join(str(path) for path in (self._cluster.folder.path,))
        self._console.tell(welcome(self._cluster.url, self._cluster.node_urls, DEMO_USERS, names))

    async def _furnish(self) -> None:
        """The demo's rooms and messages, once in the life of a data folder."""
        from chatnode.local.seed import furnish

        done = self._cluster.folder.demo_done
        if not done.exists():
            await furnish(self._cluster)
            done.touch()

    def _asked_to_stop(self) -> None:
        self._signals += 1
        if self._signals == 1:
            self._console.tell("\nStopping; once more to stop at once.")
            self._enough.set()
        else:
            self._cluster.kill_all()

    def _fail(self, error: ServerError) -> int:
        self._console.settle()
        sys.stdout.flush()
        print(f"chatcluster: {error}", file=sys.stderr)
        return _FAILED
