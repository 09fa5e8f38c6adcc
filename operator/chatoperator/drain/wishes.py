"""What each node is to be told and its pod marked with now; whatever differs is said again on every visit."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal

from msgspec import Struct

from chatoperator.autoscale.rebalance import Shed
from chatoperator.autoscale.samples import Pod, Sample
from chatoperator.drain.batch import Batch
from chatoperator.drain.ranking import COST

Stance = Literal["serving", "cordoned", "draining"]


class Order(Struct, frozen=True):
    """For one node, on its admin port."""

    uid: str
    node: str
    stance: Stance
    window_s: float = 0.0


class ShedOrder(Struct, frozen=True):
    uid: str
    node: str
    clients: int
    window_s: float


class Mark(Struct, frozen=True):
    """On one pod, under the autoscaler's field manager; refused by the API server for another UID."""

    uid: str
    pod: str
    entry: bool
    """Whether the Service leads to it."""
    cost: int | None = None


def orders(batch: Batch | None, pods: Iterable[Pod], samples: Mapping[str, Sample]) -> tuple[Order, ...]:
    """For each node that is heard and whose stance is not as it should be; who ends decides for itself."""
    told: list[Order] = []
    for pod in pods:
        sample = samples.get(pod.uid)
        if sample is None or pod.terminating or sample.state == "starting":
            continue
        wanted = _stance(batch, pod.uid)
        now: Stance = "serving" if sample.state == "suspended" else sample.state
        if wanted != now and not (wanted == "cordoned" and now == "draining"):
            window = float(batch.window_seconds) if batch is not None and wanted == "draining" else 0.0
            told.append(Order(pod.uid, pod.name, wanted, window))
    return tuple(told)


def _stance(batch: Batch | None, uid: str) -> Stance:
    if batch is None or uid not in batch.uids:
        return "serving"
    return "cordoned" if batch.phase in {"Cordon", "Settle"} else "draining"


def closed(
    batch: Batch | None, pods: Sequence[Pod], current: str, sheds: Collection[Shed], *, rolling: bool
) -> frozenset[str]:
    """UIDs of pods to which the Service should not lead: those that leave, old ones while a new one is ready, and
    those that shed clients, which would come back by their cookie otherwise. Never all that are ready.
    """
    found = set(batch.uids) if batch is not None else set()
    found |= {shed.pod for shed in sheds}
    new = [pod for pod in pods if pod.ready and not pod.terminating and pod.revision == current]
    if rolling and current and new:
        found |= {pod.uid for pod in pods if pod.revision != current}
    others = [pod for pod in pods if pod.ready and not pod.terminating and pod.uid not in found]
    return frozenset(found) if others else frozenset(batch.uids if batch is not None else ())


def marks(batch: Batch | None, pods: Iterable[Pod], shut: frozenset[str], ours: frozenset[str]) -> tuple[Mark, ...]:
    """``ours``: UIDs of pods whose deletion cost the operator has written."""
    wanted: list[Mark] = []
    for pod in pods:
        if pod.terminating:
            continue
        removing = batch is not None and pod.uid in batch.uids and batch.phase in {"Remove", "Going"}
        cost = COST if removing else None
        entry = pod.uid not in shut
        if (
            pod.entry != entry
            or not pod.labelled
            or (removing and pod.deletion_cost != COST)
            or (not removing and pod.uid in ours)
        ):
            wanted.append(Mark(pod.uid, pod.name, entry, cost))
    return tuple(wanted)


def strangers(pods: Iterable[Pod], ours: frozenset[str]) -> tuple[str, ...]:
    """Pods whose deletion cost somebody else has written: they could be deleted instead of a drained one."""
    return tuple(
        sorted(
            pod.name for pod in pods if pod.deletion_cost is not None and pod.uid not in ours and not pod.terminating
        )
    )
