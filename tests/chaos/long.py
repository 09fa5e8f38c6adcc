"""``python -m tests.chaos.long``: runs of many seeds, one after the other; each one's figures go into the ledger."""

import argparse
import datetime as dt
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from tests.chaos import ledger
from tests.chaos.outcome import Outcome

_CLEAN_UP_S: Final = 60.0


def main(words: Sequence[str] | None = None, once: Callable[[Sequence[str]], int] | None = None) -> int:
    """``once`` is one run with these arguments, and gives its exit code."""
    arguments, others = _arguments(words)
    once = once or _once
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("chaos: told to end"))
    path = Path(arguments.ledger)
    of, commit = ledger.fingerprint(), ledger.commit()
    until = time.monotonic() + 60.0 * arguments.minutes
    red = 0
    while time.monotonic() < until:
        seed = random.SystemRandom().randrange(1_000_000)
        out = arguments.out / f"{seed}.json"
        seconds = max(60.0, min(arguments.each, until - time.monotonic()))
        told = ("--seed", str(seed), "--seconds", f"{seconds:.0f}", "--out", str(out))
        code = once((*told, *others))
        if not out.exists():
            _say(f"chaos: the run of seed {seed} ended with {code} and without figures")
            red += 1
            continue
        outcome = msgspec.json.decode(out.read_bytes(), type=Outcome)
        if ledger.fingerprint() != of:
            _say("chaos: the data path was changed while it ran: not counted, and nothing more is run")
            return 1
        date = dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M")
        ledger.append(path, ledger.row(outcome, date=date, commit=commit, of=of))
        red += not outcome.ok
        _say(_said(ledger.total([each for each in ledger.read(path) if each.fingerprint == of])))
    return 1 if red else 0


def _once(arguments: Sequence[str]) -> int:
    process = subprocess.Popen((sys.executable, "-m", "tests.chaos", *arguments))
    try:
        return process.wait()
    except (KeyboardInterrupt, SystemExit):
        process.terminate()
        process.wait(_CLEAN_UP_S)
        raise


def _say(words: str) -> None:
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


def _said(total: ledger.Total) -> str:
    return (
        f"chaos: of this data path {total.runs} runs, {total.faults} faults, {total.acked:,} acked, "
        f"{total.broken} broken promises, {total.red} red runs"
    )


def _arguments(words: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos.long", description=__doc__, epilog="What is left goes to each run."
    )
    parser.add_argument("--minutes", type=float, default=45.0, help="a run that begins before them is finished")
    parser.add_argument("--each", type=float, default=480.0, help="seconds of faults in each run")
    parser.add_argument("--ledger", default=str(ledger.ROOT / ledger.LEDGER))
    parser.add_argument("--out", type=Path, default=Path("build/chaos-long"))
    return parser.parse_known_args(words)


if __name__ == "__main__":
    sys.exit(main())
