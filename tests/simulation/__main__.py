"""``python -m tests.simulation``: histories by seeds, one history in words, mutations, the ledger."""

import argparse
import logging
import os
import sys
import time
from pathlib import Path

import msgspec

from tests.chaos.ledger import fingerprint
from tests.simulation import campaign
from tests.simulation.campaign import Regression, Total
from tests.simulation.drawing import draw_plan
from tests.simulation.history import run_plan
from tests.simulation.mutations import MUTATIONS
from tests.simulation.plan import Plan
from tests.simulation.shrink import shrink
from tests.simulation.story import tell


def main() -> int:
    arguments = _arguments()
    logging.disable(logging.CRITICAL)
    if arguments.seed is not None:
        return _one(draw_plan(arguments.seed), arguments)
    if arguments.plan is not None:
        return _one(msgspec.json.decode(arguments.plan.read_bytes(), type=Regression).plan, arguments)
    if arguments.mutations:
        return _mutations(arguments.limit, arguments.processes)
    first = campaign.next_seed() if arguments.first is None else arguments.first
    began = time.monotonic()
    total = campaign.run_many(first, arguments.histories, arguments.processes, arguments.seconds)
    elapsed = time.monotonic() - began
    print(_words(first, total, elapsed))
    if arguments.ledger:
        own = fingerprint()
        entries = [entry for entry in campaign.write_down(first, total) if entry.fingerprint == own]
        print(f"ledger: {sum(entry.histories for entry in entries):,} histories of this data path ({own})")
    for failure in total.failures:
        print(f"seed {failure.seed}: {'; '.join(failure.problems)}")
        print(f'  repeat with: make simulate SIMULATE="--seed {failure.seed}"')
    if total.failures:
        seed = total.failures[0].seed
        print(f"the first one, cut down: {_show(shrink(draw_plan(seed)))}")
    _write_results(first, total, elapsed, arguments.out)
    return 1 if total.failures else 0


def _one(plan: Plan, arguments: argparse.Namespace) -> int:
    campaign.quiet()
    if arguments.shrink:
        plan = shrink(plan)
        print(_show(plan))
    outcome = run_plan(plan)
    print(tell(outcome))
    if arguments.keep and not outcome.ok:
        print(campaign.keep(Regression(arguments.keep, "; ".join(outcome.problems[:2]), plan)))
    return 0 if outcome.ok else 1


def _mutations(limit: int, processes: int) -> int:
    missed = 0
    actions = {kept.mutation: len(kept.plan.actions) for kept in campaign.regressions()}
    print("| rule taken out | which | histories | actions | seen as |\n|---|---|---|---|---|")
    for mutation, (seed, rules) in zip(MUTATIONS, campaign.until_seen(MUTATIONS, limit, processes), strict=True):
        missed += seed is None
        count = f"not in {limit}" if seed is None else seed + 1
        left = actions.get(mutation.name, "no plan is kept")
        print(f"| {mutation.name} | {mutation.rule} | {count} | {left} | {rules} |", flush=True)
    return 1 if missed else 0


def _show(plan: Plan) -> str:
    return msgspec.json.encode(plan).decode()


def _words(first: int, total: Total, elapsed: float) -> str:
    each = 1000 * total.cpu_s / max(1, total.histories)
    hours = total.virtual_s / 3600
    return (
        f"{total.histories:,} histories from seed {first}: {len(total.failures)} failed; "
        f"{total.acked:,} commands acked, {total.delivered:,} events delivered; "
        f"{hours:,.0f} h of virtual time in {elapsed:.0f} s, {each:.1f} ms of CPU each"
    )


def _write_results(first: int, total: Total, elapsed: float, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    results = {
        "first_seed": first,
        "histories": total.histories,
        "failed": len(total.failures),
        "acked": total.acked,
        "delivered": total.delivered,
        "virtual_s": round(total.virtual_s),
        "cpu_s": round(total.cpu_s, 1),
        "elapsed_s": round(elapsed, 1),
    }
    path.write_bytes(msgspec.json.format(msgspec.json.encode(results)) + b"\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--histories", type=int, default=100_000)
    parser.add_argument("--first", type=int, help="the first seed; by default above those in the ledger")
    parser.add_argument("--seconds", type=float, help="stop after so long, with what was run by then")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--ledger", action="store_true", help="add the run to docs/simulation-ledger.json")
    parser.add_argument("--seed", type=int, help="one history, told in words")
    parser.add_argument("--plan", type=Path, help="one history from a file of tests/simulation/regressions")
    parser.add_argument("--shrink", action="store_true", help="cut the plan of that history down first")
    parser.add_argument("--keep", metavar="NAME", help="keep that history as a regression, if it fails")
    parser.add_argument("--mutations", action="store_true", help="take each rule out in turn")
    parser.add_argument("--limit", type=int, default=10_000, help="histories per mutation")
    parser.add_argument("--out", type=Path, default=Path("build/simulation.json"))
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
