"""Writing: brings about what was planned, and writes nothing that is there already."""

import asyncio
import base64
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from typing import Final

import msgspec
from msgspec import Struct

from chatoperator import broker, certificates, mongo
from chatoperator.autoscale.samples import Pod
from chatoperator.drain.wishes import Mark, Order, ShedOrder
from chatoperator.kube import ApiError, Kube
from chatoperator.nodes import Nodes
from chatoperator.objects import (
    Json,
    Object,
    Ref,
    decoded,
    differences,
    mapping,
    needs_apply,
    number,
    owned_by,
    ref,
    text,
)
from chatoperator.plan import tls
from chatoperator.plan.access import MONGODB_KEYFILE, NATS_SYSTEM, NODE_CONTROL, Draw
from chatoperator.plan.decide import Desired, nodes_deployment
from chatoperator.plan.naming import AUTOSCALER, DELETION_COST, ENTRY, MANAGER
from chatoperator.plan.observed import ClusterStatus, Observed
from chatoperator.plan.scale import Scale
from chatoperator.plan.troubles import hindered
from chatoperator.spec import GROUP, KIND, VERSION, ChatCluster

_REFUSALS: Final = frozenset({400, 403, 404, 409, 422})
"""Answers that say something about this one object."""
_LASTING: Final = _REFUSALS - {409}
"""Of these, those that another visit will hear, too."""
_FORBIDDEN: Final = frozenset({403})
"""The one that lasts where an object may have changed or gone since it was read."""

_FIELDS: Final = 4
"""Of one object, that are named."""


class Applied(Struct):
    """What was written, for logs and tests."""

    writes: int = 0
    orders: int = 0
    """That nodes have taken."""
    refused: tuple[str, ...] = ()
    hindered: tuple[str, ...] = ()
    """Of those, what will be refused again until somebody does something about it; in words."""
    changed: tuple[str, ...] = ()
    """What was written to a cluster that was complete before: which objects, and which of their fields."""


def _changed(existing: Object | None, thing: Object) -> str:
    what = f"{text(thing, 'kind')} {text(thing, 'metadata', 'name')}"
    if existing is None:
        return f"{what}: made, it was not there"
    fields = list(differences(existing, thing))
    if not fields:
        return f"{what}: fields that are no longer wanted"
    more = f" and {len(fields) - _FIELDS} more" if len(fields) > _FIELDS else ""
    return f"{what}: {', '.join(fields[:_FIELDS])}{more}"


def marked(mark: Mark, namespace: str) -> Object:
    """Refused where the name has passed on to another pod: a UID cannot be changed."""
    cost: Object = {DELETION_COST: str(mark.cost)} if mark.cost is not None else {}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": mark.pod,
            "namespace": namespace,
            "uid": mark.uid,
            "labels": {ENTRY: "open" if mark.entry else "closed"},
            "annotations": cost,
        },
    }


def draw_password() -> str:
    """Begins with a letter, because nats-server reads what begins with a digit as a number."""
    return "p" + secrets.token_hex(24)


def draw_keyfile() -> str:
    return base64.b64encode(secrets.token_bytes(384)).decode()


def entry(observed: Observed) -> mongo.Entry:
    held = observed.certificates.get("mongodb")
    return mongo.Entry(observed.credentials, held.trust if held is not None else "")


class Applier:
    def __init__(
        self,
        kube: Kube,
        nodes: Nodes,
        *,
        password: Callable[[], str] = draw_password,
        keyfile: Callable[[], str] = draw_keyfile,
        wall: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._kube = kube
        self._nodes = nodes
        self._password = password
        self._keyfile = keyfile
        self._wall = wall

    async def bring(
        self, cluster: ChatCluster, desired: Desired, live: Mapping[Ref, Object], observed: Observed
    ) -> Applied:
        """Everything but the status. One object that is refused does not keep the others from being applied."""
        done = Applied()
        namespace = cluster.metadata.namespace
        if desired.draw is not None:
            await self._draw(desired.draw, live)
            done.writes += 1
        if desired.issues:
            await self._issue(cluster, desired.issues, live, done)
        complete = nodes_deployment(cluster) in live
        for thing in desired.objects:
            existing = live.get(ref(thing))
            if (
                needs_apply(existing, thing, MANAGER)
                and await self._try(self._kube.apply(thing, MANAGER), done)
                and complete
            ):
                done.changed = (*done.changed, _changed(existing, thing))
        if desired.scale is not None:
            await self._steer(cluster, desired.scale, live, observed, done)
        for where in self._spare(desired, live):
            if await self._try(self._kube.delete(where, namespace), done):
                done.changed = (*done.changed, f"{where.kind} {where.name}: taken away, it is no longer wanted")
        if desired.mongodb is not None and observed.mongodb is not None:
            database = cluster.spec.mongodb.database
            await mongo.perform(desired.mongodb, observed.mongodb, entry(observed), database)
            done.writes += 1
        await self._reload(desired.reload, observed)
        return done

    @staticmethod
    async def _reload(reload: Mapping[str, tuple[str, ...]], observed: Observed) -> None:
        """Kubelets take up to two minutes to bring a Secret into pods; until then members read the old one again."""
        calls: list[Awaitable[None]] = []
        if "nats" in reload:
            trust = observed.certificates["nats"].trust
            members = {member.partition(".")[0]: member for member in reload["nats"]}
            calls.append(broker.reload(members, observed.credentials[NATS_SYSTEM], trust))
        if "mongodb" in reload:
            calls.append(mongo.reload(reload["mongodb"], entry(observed)))
        # Each is tried, whatever becomes of the other.
        for outcome in await asyncio.gather(*calls, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome

    async def _issue(
        self, cluster: ChatCluster, issues: Sequence[tls.Issue], live: Mapping[Ref, Object], done: Applied
    ) -> None:
        held = {
            component: decoded(live.get(Ref("v1", "Secret", name)), tls.needed(component))
            for component, name in tls.secrets(cluster).items()
        }
        for order in issues:
            if order.component == tls.AUTHORITY:
                believed = held[tls.AUTHORITY].get(tls.TRUST) or next(
                    (each[tls.TRUST] for each in held.values() if tls.TRUST in each), ""
                )
                made = certificates.successor(believed, cluster.metadata.name, self._wall())
            else:
                try:
                    made = certificates.member(order, held[order.component], held[tls.AUTHORITY], self._wall())
                except certificates.AuthorityUnusable as error:
                    done.refused = (*done.refused, str(error))
                    done.hindered = (*done.hindered, str(error))
                    return
            held[order.component] = made
            await self._write(order.metadata, made, live)
            done.writes += 1

    async def _write(self, metadata: Object, values: Mapping[str, str], live: Mapping[Ref, Object]) -> None:
        data: Object = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
        secret: Object = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "data": data}
        existing = live.get(ref(secret))
        if existing is None:
            await self._kube.create(secret)
        else:
            await self._kube.replace({**existing, "data": data})

    @staticmethod
    def _spare(desired: Desired, live: Mapping[Ref, Object]) -> list[Ref]:
        """What is ours and no longer wanted; never a Secret."""
        return [where for where in live.keys() - desired.refs if where.kind != "Secret"] if desired.prune else []

    async def _try(self, call: Awaitable[object], done: Applied, lasting: AbstractSet[int] = _LASTING) -> bool:
        """Whether it was done."""
        try:
            await call
            done.writes += 1
        except ApiError as error:
            if error.status not in _REFUSALS:
                raise
            done.refused = (*done.refused, str(error))
            if error.status in lasting:
                done.hindered = (*done.hindered, hindered(str(error), error.status))
            return False
        return True

    async def _draw(self, draw: Draw, live: Mapping[Ref, Object]) -> None:
        """Create, or add the keys that are missing; a value that is there is never written over."""
        values = {key: self._keyfile() if key == MONGODB_KEYFILE else self._password() for key in draw.keys}
        secret: Object = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": draw.metadata,
            "type": "Opaque",
            "data": {key: base64.b64encode(value.encode()).decode() for key, value in values.items()},
        }
        where = ref(secret)
        existing = live.get(where)
        if existing is None:
            await self._kube.create(secret)
            return
        data = {**mapping(secret, "data"), **mapping(existing, "data")}
        await self._kube.replace({**existing, "data": data})

    async def _steer(
        self, cluster: ChatCluster, scale: Scale, live: Mapping[Ref, Object], observed: Observed, done: Applied
    ) -> None:
        """Marks first, so that nobody is led to a node that is about to be told to go; replicas last."""
        namespace = cluster.metadata.namespace
        for mark in scale.marks:
            await self._try(self._kube.apply(marked(mark, namespace), AUTOSCALER), done, _FORBIDDEN)
        pods: Mapping[str, Pod] = {pod.uid: pod for pod in observed.nodes.pods}
        token = observed.credentials.get(NODE_CONTROL, "")
        orders: list[Order | ShedOrder] = [*scale.orders, *scale.sheds]
        taken = await asyncio.gather(*(self._nodes.tell(order, pods[order.uid].address, token) for order in orders))
        done.orders += sum(taken)
        await self._scale(nodes_deployment(cluster), scale, live, namespace, done)

    async def _scale(self, where: Ref, scale: Scale, live: Mapping[Ref, Object], namespace: str, done: Applied) -> None:
        """Replicas under a field manager of their own; fewer only if nothing was written since all this was read."""
        existing = live.get(where)
        if (
            existing is not None
            and number(existing, "spec", "replicas") == scale.replicas
            and owned_by(existing, AUTOSCALER) is not None
        ):
            return
        metadata: dict[str, Json] = {"name": where.name, "namespace": namespace}
        if scale.lowered and existing is not None:
            metadata["resourceVersion"] = text(existing, "metadata", "resourceVersion")
        thing: Object = {
            "apiVersion": where.api_version,
            "kind": where.kind,
            "metadata": metadata,
            "spec": {"replicas": scale.replicas},
        }
        await self._try(self._kube.apply(thing, AUTOSCALER), done)

    async def tell(
        self, cluster: ChatCluster, status: ClusterStatus, before: ClusterStatus, version: str, *, sure: bool = False
    ) -> int:
        """Write the status where it differs, or to be ``sure`` that it still holds; how many writes.

        Only if nobody wrote since ``version`` was read: a status that was decided on an older one would take back what
        another operator has written down, and undo the step that follows from it.
        Raises :class:`chatoperator.kube.ApiError`, a conflict in that case.
        """
        if status == before and not sure:
            return 0
        thing: Object = {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": KIND,
            "metadata": {
                "name": cluster.metadata.name,
                "namespace": cluster.metadata.namespace,
                "resourceVersion": version,
            },
            "status": msgspec.to_builtins(status),
        }
        await self._kube.apply(thing, MANAGER, subresource="status")
        return int(status != before)
