"""What a fault run may come to."""

from tests.chaos.outcome import Outcome

OUTCOME = Outcome(
    seed=7,
    seconds=60.0,
    faults=3,
    faults_by_kind={"kill nats": 2, "pause node": 1},
    planted=8,
    planted_found=8,
    sent=110,
    acked=100,
    messages=90,
    refused=10,
    unknown=0,
    delivered=900,
    lost=0,
    duplicated=0,
    phantom=0,
    reordered=0,
    gaps=0,
    problems={},
    resume_s=4.5,
    converge_s=20.0,
    acked_per_s=1.5,
)
