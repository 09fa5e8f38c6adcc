"""One operator acts, the others wait: a Lease, held and renewed. Losing it ends the process."""

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from msgspec import Struct

from chatoperator.kube import ApiError, Kube
from chatoperator.objects import Json, Object, Ref, mapping, number, text

logger = logging.getLogger(__name__)

_API: Final = "coordination.k8s.io/v1"


class LeaseLost(Exception):
    """Another operator may be acting now; this one must not."""


class LeaseTimes(Struct, frozen=True):
    duration_s: int = 15
    renew_s: float = 4.0
    """How often it is renewed; after ``duration_s`` without success it counts as lost."""


class Lease:
    """Whether a holder is gone is judged by this process's own clock, so that clocks may differ."""

    def __init__(
        self,
        kube: Kube,
        *,
        namespace: str,
        name: str,
        holder: str,
        clock: Callable[[], float],
        times: LeaseTimes | None = None,
    ) -> None:
        self._kube = kube
        self._namespace = namespace
        self._where = Ref(_API, "Lease", name)
        self._holder = holder
        self._clock = clock
        self._times = times or LeaseTimes()
        self._seen: tuple[str, str] | None = None
        self._seen_at = 0.0

    async def acquire(self) -> None:
        """Returns when this process holds it."""
        waiting = False
        while not await self._try():
            if not waiting:
                logger.info("waiting for the lease %s", self._where.name)
                waiting = True
            await asyncio.sleep(self._times.renew_s / 2)
        logger.info("holding the lease %s", self._where.name)

    async def keep(self) -> None:
        """Renew for ever; raises :class:`LeaseLost`."""
        renewed = self._clock()
        while True:
            await asyncio.sleep(self._times.renew_s)
            if await self._try():
                renewed = self._clock()
            elif self._clock() - renewed > self._times.duration_s * 2 / 3 or not await self._still_ours():
                raise LeaseLost(
                    f"the lease {self._where.name} could not be renewed for {self._clock() - renewed:.0f} s"
                )

    async def release(self) -> None:
        """Let the next one in at once."""
        try:
            lease = await self._kube.get(self._where, self._namespace)
            if lease is not None and text(lease, "spec", "holderIdentity") == self._holder:
                await self._kube.replace({**lease, "spec": {**mapping(lease, "spec"), "holderIdentity": ""}})
        except ApiError as error:
            logger.warning("the lease was not released: %s", error)

    async def _still_ours(self) -> bool:
        try:
            lease = await self._kube.get(self._where, self._namespace)
        except ApiError:
            return True
        return lease is not None and text(lease, "spec", "holderIdentity") == self._holder

    async def _try(self) -> bool:
        try:
            lease = await self._kube.get(self._where, self._namespace)
            if lease is None:
                await self._kube.create(self._object({}, 0))
                return True
            holder, renewed = text(lease, "spec", "holderIdentity"), text(lease, "spec", "renewTime")
            if holder not in {"", self._holder} and not self._expired(holder, renewed):
                return False
            changes = number(lease, "spec", "leaseTransitions") + (holder != self._holder)
            await self._kube.replace({**lease, **self._object(mapping(lease, "metadata"), changes)})
        except ApiError as error:
            if not error.conflict:
                logger.warning("lease: %s", error)
            return False
        return True

    def _expired(self, holder: str, renewed: str) -> bool:
        if self._seen != (holder, renewed):
            self._seen = (holder, renewed)
            self._seen_at = self._clock()
        return self._clock() - self._seen_at > self._times.duration_s

    def _object(self, metadata: Object, transitions: int) -> Object:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec: dict[str, Json] = {
            "holderIdentity": self._holder,
            "leaseDurationSeconds": self._times.duration_s,
            "acquireTime": now,
            "renewTime": now,
            "leaseTransitions": transitions,
        }
        return {
            "apiVersion": _API,
            "kind": "Lease",
            "metadata": metadata or {"name": self._where.name, "namespace": self._namespace},
            "spec": spec,
        }
