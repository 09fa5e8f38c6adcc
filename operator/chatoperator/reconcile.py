"""The loop: one task per ChatCluster, woken by events and by time, each visit seeing everything anew.

An event only ever says "look again"; what is done follows from what is there (level-triggered), so that events may be
lost, doubled or out of order.
"""

import asyncio
import logging
import random
import secrets
from collections.abc import Callable, Hashable, Sequence
from datetime import UTC, datetime
from typing import Final

from msgspec import UNSET, Struct

from chatoperator.apply import Applied, Applier
from chatoperator.autoscale.samples import Memory
from chatoperator.broker import NatsRefused
from chatoperator.events import News, event, news
from chatoperator.kube import ApiError, Kube
from chatoperator.mongo import MongoRefused
from chatoperator.objects import Json, Object, Ref, at, text
from chatoperator.observe import Observer, last_status
from chatoperator.plan.decide import plan
from chatoperator.plan.observed import ClusterStatus, Condition, Observed
from chatoperator.plan.status import hindered, stamp
from chatoperator.plan.troubles import Trouble
from chatoperator.spec import GROUP, KIND, VERSION, ChatCluster, InvalidSpec, parse

logger = logging.getLogger(__name__)

Key = tuple[str, str]
"""Namespace and name."""
_VISIT_S: Final = 60.0
_AT_ONCE: Final = 16
_SETTLE_S: Final = 0.2
"""Events come in bursts; one visit serves those of this long."""
_SOON_S: Final = 2.0
_BACKOFF_S: Final = 60.0
_AGAIN_S: Final = 600.0
_PATIENCE: Final = 2
"""Visits in a row that may fail before the status says so."""


class Rhythm(Struct, frozen=True):
    """When a cluster is visited again without an event."""

    resync_s: float = 45.0
    soon_s: float = _SOON_S
    """While something is under way."""


class Reconciler:
    """Owns the tasks; ``run`` ends them."""

    def __init__(
        self,
        kube: Kube,
        observer: Observer,
        applier: Applier,
        *,
        clock: Callable[[], float],
        instance: str,
        rhythm: Rhythm | None = None,
        wall: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._kube = kube
        self._observer = observer
        self._applier = applier
        self._clock = clock
        self._wall = wall
        self._instance = instance
        self._rhythm = rhythm or Rhythm()
        self._wakers: dict[Key, asyncio.Event] = {}
        self._tasks: dict[Key, asyncio.Task[None]] = {}
        self._gate = asyncio.Semaphore(_AT_ONCE)
        self._last: dict[Key, float] = {}
        self._heard: dict[Key, float] = {}
        self._memories: dict[Key, Memory] = {}
        self._wishes: dict[Key, Hashable] = {}
        self._hindered: dict[Key, tuple[str, ...]] = {}
        """What the last visit could not do, in words."""
        self._told: dict[Key, dict[str, float]] = {}
        """What was said to have been applied, and when."""
        self.writes = 0
        self.visits = 0

    def wake(self, key: Key) -> None:
        """Look at this cluster again soon; begins to care for it if it is new."""
        self._wakers.setdefault(key, asyncio.Event()).set()
        if key not in self._tasks:
            self._last[key] = self._clock()
            task = asyncio.create_task(self._care(key), name=f"care for {key[0]}/{key[1]}")
            self._tasks[key] = task
            task.add_done_callback(lambda _: self._forget(key))

    def saw(self, key: Key, wish: Hashable) -> None:
        """An event of the resource; ``wish`` is what of it a person writes. Statuses that were only written here are no
        reason to look again, else each visit would bring about the next.
        """
        if key not in self._tasks or self._wishes.get(key) != wish:
            self._wishes[key] = wish
            self.wake(key)

    def _forget(self, key: Key) -> None:
        for table in (self._tasks, self._wakers, self._last, self._heard, self._memories, self._wishes):
            table.pop(key, None)
        self._hindered.pop(key, None)
        self._told.pop(key, None)
        self._observer.forget(*key)

    @property
    def oldest_visit_s(self) -> float:
        """How long ago the cluster that waits longest was last visited with success; 0 without clusters."""
        now = self._clock()
        return max((now - last for last in self._last.values()), default=0.0)

    @property
    def oldest_sample_s(self) -> float:
        """How long ago the cluster that is silent for longest was last heard; 0 where none has a node to be heard."""
        now = self._clock()
        return max((now - heard for heard in self._heard.values()), default=0.0)

    def _listen(self, key: Key, observed: Observed, heard: int) -> None:
        if heard:
            self._heard[key] = self._clock()
        elif any(pod.ready for pod in observed.nodes.pods):
            self._heard.setdefault(key, self._clock())
        else:
            self._heard.pop(key, None)

    @property
    def clusters(self) -> int:
        return len(self._tasks)

    async def stop(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _care(self, key: Key) -> None:
        waker = self._wakers[key]
        failures = 0
        while True:
            waker.clear()
            try:
                async with self._gate, asyncio.timeout(_VISIT_S):
                    delay = await self.visit(key)
            except (ApiError, MongoRefused, NatsRefused, TimeoutError) as error:
                failures += 1
                delay = min(_BACKOFF_S, 2.0 ** min(failures, 6)) * random.uniform(0.8, 1.2)  # noqa: S311  spread
                logger.warning("%s/%s: %r; again in %.0f s", *key, error, delay)
                # Who was overtaken looks again; nothing is wrong.
                if failures >= _PATIENCE and not (isinstance(error, ApiError) and error.conflict):
                    await self._confess(key, error)
            except Exception:  # one that nobody foresaw ends neither this task nor goes unseen: health follows visits
                failures += 1
                delay = _BACKOFF_S
                logger.exception("%s/%s: this visit failed; again in %.0f s", *key, delay)
            else:
                failures = 0
                if delay is None:
                    return
                self._last[key] = self._clock()
            await _either(waker, delay)
            await asyncio.sleep(_SETTLE_S)

    async def visit(self, key: Key) -> float | None:
        """See, plan, bring about, tell. Seconds until the next visit; None when the cluster is gone."""
        namespace, name = key
        self.visits += 1
        resource = await self._kube.get(Ref(f"{GROUP}/{VERSION}", KIND, name), namespace)
        if resource is None or at(resource, "metadata", "deletionTimestamp") is not None:
            return None
        before = last_status(at(resource, "status"))
        try:
            cluster = parse(resource)
        except InvalidSpec as error:
            await self._complain(resource, before, error)
            return self._rhythm.resync_s
        seen = await self._observer.see(
            cluster, at(resource, "status"), self._memories.get(key, Memory()), self._troubles(key)
        )
        desired = plan(cluster, seen.observed, self._wall())
        self._memories[key] = desired.memory
        self._listen(key, seen.observed, desired.heard)
        # What was decided is written down before it is done, so that whoever goes on knows of it.
        version = text(resource, "metadata", "resourceVersion")
        steers = desired.scale is not None and desired.scale.replicas != seen.observed.nodes.replicas
        written = await self._applier.tell(cluster, desired.status, before, version, sure=steers)
        written += await self._announce(cluster, before, desired.status)
        done = await self._applier.bring(cluster, desired, seen.live, seen.observed)
        self._hindered[key] = done.hindered
        for words in done.refused:
            logger.error("%s/%s: refused: %s", namespace, name, words)
        self.writes += written + done.writes
        if done.writes:
            logger.info("%s/%s: %d writes", namespace, name, done.writes)
        for each in self._fresh(key, done.changed):
            unique = secrets.token_hex(8)
            told = News("Applied", each)
            await self._kube.create(event(cluster, told, self._wall(), unique, self._instance))
        return self._delay(cluster, desired.status, done)

    def _troubles(self, key: Key) -> Sequence[Trouble]:
        return [Trouble("", "", words) for words in self._hindered.get(key, ())]

    def _fresh(self, key: Key, changed: Sequence[str]) -> Sequence[str]:
        """Without what was told lately: somebody may change the same thing back again and again."""
        now, told = self._clock(), self._told.setdefault(key, {})
        for words in [words for words, at_s in told.items() if now - at_s > _AGAIN_S]:
            del told[words]
        fresh = [words for words in changed if words not in told]
        told.update(dict.fromkeys(fresh, now))
        return fresh

    async def _confess(self, key: Key, error: Exception) -> None:
        """Visits that fail say so in the status, once, as far as it can still be written."""
        words = f"the operator does not get on: {str(error) or 'a visit took too long'}"
        self._hindered[key] = (words,)
        namespace, name = key
        try:
            async with asyncio.timeout(_VISIT_S):
                resource = await self._kube.get(Ref(f"{GROUP}/{VERSION}", KIND, name), namespace)
                if resource is None:
                    return
                before = last_status(at(resource, "status"))
                if words not in before.troubles:
                    cluster = parse(resource)
                    after = hindered(cluster, before, words, self._wall())
                    version = text(resource, "metadata", "resourceVersion")
                    await self._applier.tell(cluster, after, before, version)
                    await self._announce(cluster, before, after)
        except (ApiError, InvalidSpec, TimeoutError) as again:
            logger.warning("%s/%s: the status does not say so: %r", *key, again)

    async def _announce(self, cluster: ChatCluster, before: ClusterStatus, after: ClusterStatus) -> int:
        """Events about what differs; how many."""
        told = news(before, after)
        for each in told:
            unique = secrets.token_hex(8)
            await self._kube.create(event(cluster, each, self._wall(), unique, self._instance))
        return len(told)

    def _delay(self, cluster: ChatCluster, status: ClusterStatus, done: Applied) -> float:
        ready, scaling = status.condition("Ready"), cluster.spec.autoscaling
        if done.writes or done.orders or ready is None or ready.status != "True" or status.drain is not UNSET:
            return min(self._rhythm.soon_s, float(scaling.interval_seconds))
        rhythm = self._rhythm.resync_s
        if status.nodes.running and scaling.mode == "Operator":
            rhythm = min(rhythm, float(scaling.interval_seconds))
        return rhythm * random.uniform(0.9, 1.1)  # noqa: S311  spread

    async def _complain(self, resource: Object, before: ClusterStatus, error: InvalidSpec) -> None:
        """Only a spec that came past the API server's rules gets here: its status says what is wrong."""
        now = self._wall()
        generation = at(resource, "metadata", "generation")
        was = before.condition("Ready")
        since = was.last_transition_time if was and was.status == "False" else stamp(now)
        condition = Condition(
            "Ready", "False", "InvalidSpec", str(error), since, generation if isinstance(generation, int) else 0
        )
        kept = [each for each in before.conditions if each.type != "Ready"]
        status: Json = {
            "conditions": [_condition(each) for each in (condition, *kept)],
            "observedGeneration": generation,
        }
        if was != condition:
            where = Ref(f"{GROUP}/{VERSION}", KIND, text(resource, "metadata", "name"))
            await self._kube.merge_status(where, text(resource, "metadata", "namespace"), {"status": status})


def _condition(condition: Condition) -> Object:
    return {
        "type": condition.type,
        "status": condition.status,
        "reason": condition.reason,
        "message": condition.message,
        "lastTransitionTime": condition.last_transition_time,
        "observedGeneration": condition.observed_generation,
    }


async def _either(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
