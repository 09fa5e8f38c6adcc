"""A failing plan, cut down while it still fails."""

from collections.abc import Callable

from msgspec.structs import replace

from tests.simulation.history import Outcome, run_plan
from tests.simulation.plan import Action, Plan


def shrink(plan: Plan, tries: int = 400, run: Callable[[Plan], Outcome] = run_plan) -> Plan:
    """Drops actions, halves first, as long as one of the rules that were broken is still broken."""
    broken = run(plan).rules
    left = tries

    def fails(actions: tuple[Action, ...]) -> bool:
        nonlocal left
        left -= 1
        return bool(actions) and bool(run(replace(plan, actions=actions)).rules & broken)

    actions = plan.actions
    size = max(1, len(actions) // 2)
    while left > 0:
        cut = False
        start = 0
        while start < len(actions) and left > 0:
            shorter = actions[:start] + actions[start + size :]
            if fails(shorter):
                actions, cut = shorter, True
            else:
                start += size
        if size == 1 and not cut:
            break
        size = max(1, size // 2)
    return replace(plan, actions=actions)
