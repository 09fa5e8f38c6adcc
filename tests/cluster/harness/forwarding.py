"""A loopback port that leads to a Service of a cluster that somebody has, also when the pod behind it is another."""

import contextlib
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from typing import Final

from tests.cluster.harness.kubernetes import wait_until

_BEGIN_S: Final = 60.0
_PAUSE_S: Final = 0.3


@contextlib.contextmanager
def forwarded(command: Sequence[str], port: int) -> Iterator[str]:
    """``127.0.0.1:n`` while it lasts. ``command``: ``kubectl port-forward`` and what it leads to, without ports.

    It leads to one pod alone and ends with it: then it is begun anew.
    """
    local = _free_port()
    over = threading.Event()
    keeper = threading.Thread(target=_keep, args=([*command, f"{local}:{port}"], over), name=f"forward {local}")
    keeper.start()
    try:
        wait_until(f"{' '.join(command[-2:])} to listen", lambda: _listens(local), _BEGIN_S)
        yield f"127.0.0.1:{local}"
    finally:
        over.set()
        keeper.join()


def _keep(command: Sequence[str], over: threading.Event) -> None:
    while not over.is_set():
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as forward:
            while forward.poll() is None and not over.wait(_PAUSE_S):
                pass
            forward.terminate()
        over.wait(_PAUSE_S)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        found: int = probe.getsockname()[1]
        return found


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
