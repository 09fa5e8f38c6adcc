"""Writing: brings about what was planned, and writes nothing that is there already."""

import base64
import secrets
from collections.abc import Callable, Mapping
from typing import Final

import msgspec
from msgspec import Struct

from chatoperator import mongo
from chatoperator.kube import ApiError, Kube
from chatoperator.objects import Object, Ref, mapping, needs_apply, number, owned_by, ref
from chatoperator.plan.access import MONGODB_KEYFILE, Draw
from chatoperator.plan.decide import Desired
from chatoperator.plan.mongodb import MongoView
from chatoperator.plan.naming import AUTOSCALER, MANAGER
from chatoperator.plan.observed import ClusterStatus
from chatoperator.spec import GROUP, KIND, VERSION, ChatCluster

_REFUSALS: Final = frozenset({400, 403, 404, 422})
"""Answers that say something about this one object."""


class Applied(Struct):
    """What was written, for logs and tests."""

    writes: int = 0
    refused: tuple[str, ...] = ()


def draw_password() -> str:
    """Begins with a letter, because nats-server reads what begins with a digit as a number."""
    return "p" + secrets.token_hex(24)


def draw_keyfile() -> str:
    return base64.b64encode(secrets.token_bytes(384)).decode()


class Applier:
    def __init__(
        self,
        kube: Kube,
        *,
        password: Callable[[], str] = draw_password,
        keyfile: Callable[[], str] = draw_keyfile,
    ) -> None:
        self._kube = kube
        self._password = password
        self._keyfile = keyfile

    async def bring(
        self,
        cluster: ChatCluster,
        desired: Desired,
        live: Mapping[Ref, Object],
        *,
        view: MongoView | None,
        credentials: Mapping[str, str],
    ) -> Applied:
        """Everything but the status. One object that is refused does not keep the others from being applied."""
        done = Applied()
        namespace = cluster.metadata.namespace
        if desired.draw is not None:
            await self._draw(desired.draw, live)
            done.writes += 1
        for thing in desired.objects:
            if needs_apply(live.get(ref(thing)), thing, MANAGER):
                await self._apply(thing, done)
        if desired.scale is not None:
            done.writes += await self._scale(*desired.scale, live, namespace)
        for where in self._spare(desired, live):
            await self._kube.delete(where, namespace)
            done.writes += 1
        if desired.mongodb is not None and view is not None:
            await mongo.perform(desired.mongodb, view, credentials, cluster.spec.mongodb.database)
            done.writes += 1
        return done

    @staticmethod
    def _spare(desired: Desired, live: Mapping[Ref, Object]) -> list[Ref]:
        """What is ours and no longer wanted; never a Secret."""
        return [where for where in live.keys() - desired.refs if where.kind != "Secret"] if desired.prune else []

    async def _apply(self, thing: Object, done: Applied) -> None:
        try:
            await self._kube.apply(thing, MANAGER)
            done.writes += 1
        except ApiError as error:
            if error.status not in _REFUSALS:
                raise
            done.refused = (*done.refused, str(error))

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

    async def _scale(self, where: Ref, replicas: int, live: Mapping[Ref, Object], namespace: str) -> int:
        """Replicas under a field manager of their own."""
        existing = live.get(where)
        if (
            existing is not None
            and number(existing, "spec", "replicas") == replicas
            and owned_by(existing, AUTOSCALER) is not None
        ):
            return 0
        thing: Object = {
            "apiVersion": where.api_version,
            "kind": where.kind,
            "metadata": {"name": where.name, "namespace": namespace},
            "spec": {"replicas": replicas},
        }
        await self._kube.apply(thing, AUTOSCALER)
        return 1

    async def tell(self, cluster: ChatCluster, status: ClusterStatus, before: ClusterStatus) -> int:
        """Write the status where it differs."""
        if status == before:
            return 0
        thing: Object = {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": KIND,
            "metadata": {"name": cluster.metadata.name, "namespace": cluster.metadata.namespace},
            "status": msgspec.to_builtins(status),
        }
        await self._kube.apply(thing, MANAGER, subresource="status")
        return 1
