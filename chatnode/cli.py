"""The command ``chatcluster``: a node, a worker, everything on one machine, or putting streams and history right.

Exit codes: 0 done, 1 could not run or had to stop, 2 wrong arguments or settings, 3 ``repair`` found something lacking,
130 interrupted.
"""

import argparse
import os
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Final

from chatnode import __version__
from chatnode.rooms.ports import StreamConflict, Unavailable
from chatnode.settings import Settings, SettingsError
from chatnode.telemetry.logs import configure

_FAILED: Final = 1
_USAGE: Final = 2
_INTERRUPTED: Final = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command to its end; what went wrong is one line on stderr."""
    options = _parser().parse_args(arguments)
    try:
        return _run(options, os.environ)
    except SettingsError as error:
        return _complain(str(error), _USAGE)
    except (Unavailable, StreamConflict) as error:
        return _complain(str(error), _FAILED)
    except KeyboardInterrupt:
        return _INTERRUPTED


def _run(options: argparse.Namespace, env: Mapping[str, str]) -> int:
    match options.command:
        case "version":
            print(f"chatcluster {__version__}")
            return 0
        case "node":
            from chatnode.app import run_node

            settings = Settings.from_env(env)
            settings.check_identity()
            configure(settings.log_level, settings.log_format, node=settings.node_id)
            return _on_uvloop(run_node(settings))
        case "worker":
            from chatnode.worker.main import run_worker

            settings = Settings.from_env(env)
            configure(settings.log_level, settings.log_format, node=settings.node_id)
            return _on_uvloop(run_worker(settings))
        case "repair":
            from chatnode.worker.mending import run_repair

            settings = Settings.from_env(env)
            configure(settings.log_level, settings.log_format, node=settings.node_id)
            return _on_uvloop(run_repair(settings, apply=options.apply, say=print))
        case _:
            from chatnode.local.up import UpOptions, run_up

            return run_up(
                UpOptions(
                    data=options.data,
                    nodes=options.nodes,
                    port=options.port,
                    admin_port=options.admin_port,
                    fresh=options.fresh,
                    demo=options.demo,
                ),
                env,
            )


def _on_uvloop(work: Coroutine[object, object, int | None]) -> int:
    import uvloop

    try:
        return uvloop.run(work) or 0
    except OSError as error:
        return _complain(str(error), _FAILED)


def _complain(message: str, code: int) -> int:
    print(f"chatcluster: {message}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="chatcluster", description="Real-time messaging for a training platform.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    up = commands.add_parser(
        "up",
        help="the whole cluster on this machine",
        description="Run NATS, MongoDB, a worker, nodes and a front door on this machine until Ctrl-C.",
        epilog="CHAT_NATS_URL and CHAT_MONGODB_URI name existing servers to use instead of starting some.",
    )
    up.add_argument("--nodes", type=_whole(1, 16), default=2, metavar="N", help="how many nodes (default: 2)")
    up.add_argument(
        "--data", type=Path, default=Path(".chatcluster"), metavar="DIR", help="where data live (default: .chatcluster)"
    )
    up.add_argument("--fresh", action="store_true", help="drop the data of earlier runs first")
    up.add_argument(
        "--port",
        type=_whole(1, 65_000),
        default=8080,
        help="port of the front door; nodes use the ones after it (default: 8080)",
    )
    up.add_argument(
        "--admin-port",
        type=_whole(1, 65_000),
        default=9100,
        metavar="PORT",
        help="port of the first node's probes and metrics; the others use the ones after it (default: 9100)",
    )
    up.add_argument("--no-demo", dest="demo", action="store_false", help="do not make the demo's rooms and messages")

    for name, what in (("node", "one node"), ("worker", "one worker")):
        commands.add_parser(
            name, help=what, description=f"Run {what}; CHAT_* variables say how (docs/configuration.md)."
        )
    repair = commands.add_parser(
        "repair",
        help="compare streams and history, and put right what can be",
        description="Say for each partition what its stream and MongoDB lack of each other; CHAT_* variables say where "
        "they are. Reads only, unless told to apply. Safe while the cluster runs.",
        epilog="Exit code 0: nothing lacks; 3: something does, or did so for good.",
    )
    repair.add_argument(
        "--apply",
        action="store_true",
        help="fill history from the streams, and begin lost streams above everything that history holds",
    )
    commands.add_parser("version", help="print the version")
    return parser


def _whole(low: int, high: int) -> Callable[[str], int]:
    """A whole number within bounds, for argparse."""

    def parse(text: str) -> int:
        if not text.isdecimal() or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {low} to {high}")
        return int(text)

    return parse


if __name__ == "__main__":
    sys.exit(main())
