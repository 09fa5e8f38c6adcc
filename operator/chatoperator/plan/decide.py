"""``plan``: the whole decision of one visit."""

from collections.abc import Mapping
from datetime import datetime

from msgspec import UNSET, Struct
from msgspec.structs import replace

from chatoperator.autoscale.samples import Memory
from chatoperator.objects import Object, Ref, ref
from chatoperator.plan import access, chat, mongodb, nats, policies, tls
from chatoperator.plan.exposure import Exposed, expose
from chatoperator.plan.mongodb import Initiate, MongoStep, MongoView, PutUsers, Reconfigure
from chatoperator.plan.naming import child
from chatoperator.plan.observed import ClusterStatus, Decision, Observed
from chatoperator.plan.scale import Remembered, Scale, steer
from chatoperator.plan.status import datastores_lack, halted, report, stamp
from chatoperator.spec import ChatCluster

NODES = "apps/v1", "Deployment"


class Desired(Struct, frozen=True):
    """What one visit is to bring about, in this order; what does not differ from what is there is not written."""

    status: ClusterStatus
    draw: access.Draw | None = None
    issues: tuple[tls.Issue, ...] = ()
    objects: tuple[Object, ...] = ()
    """Applied by the workload's field manager."""
    scale: Scale | None = None
    """The nodes' replicas, applied by the autoscaler's field manager, and what their pods are told and marked with."""
    mongodb: MongoStep | None = None
    reload: Mapping[str, tuple[str, ...]] = {}
    """Members that are to read their certificates again, by component."""
    prune: bool = False
    """Whether objects of ours that are not in ``objects`` go."""
    memory: Memory = Memory()
    """For the next visit of the same process."""
    heard: int = 0
    """Nodes whose word is fresh and believed."""

    @property
    def refs(self) -> frozenset[Ref]:
        return frozenset(ref(thing) for thing in self.objects)


def plan(cluster: ChatCluster, observed: Observed, now: datetime) -> Desired:
    """Deterministic; the same input gives the same objects, and what is there as planned leaves nothing to do."""
    scale = _steer(cluster, observed, now)
    heard = scale.stock.heard
    exposed = expose(cluster, observed.gateway)
    step = _mongodb_step(cluster, observed)
    if halted(cluster):
        return Desired(
            report(cluster, observed, now, scale=scale, exposed=exposed, decisions=()), memory=scale.memory, heard=heard
        )
    decisions = _decisions(cluster, observed, now, scale, step)
    status = report(cluster, observed, now, scale=scale, exposed=exposed, decisions=decisions)
    draw = access.draw(cluster, observed.credentials)
    issues = tls.issues(cluster, observed.certificates, now)
    if draw is not None:
        return Desired(status, draw=draw, issues=issues, memory=scale.memory, heard=heard)
    if tls.lacking(cluster, observed.certificates):
        # Pods would wait for the Secrets, and be rolled once it is known whom they have to believe.
        return Desired(status, issues=issues, objects=tls.requests(cluster), memory=scale.memory, heard=heard)
    return Desired(
        status,
        issues=issues,
        objects=_objects(cluster, observed, exposed, scale),
        scale=scale,
        mongodb=step,
        reload=observed.outdated,
        prune=True,
        memory=scale.memory,
        heard=heard,
    )


def nodes_deployment(cluster: ChatCluster) -> Ref:
    return Ref(*NODES, child(cluster, "node"))


def _steer(cluster: ChatCluster, observed: Observed, now: datetime) -> Scale:
    node, before = observed.workloads.get("node"), observed.status
    view = observed.nodes
    if node is not None:
        view = replace(view, replicas=node.desired, settled=node.placed)
    remembered = Remembered(
        desired=before.nodes.desired,
        scaling=before.scaling,
        batch=None if before.drain is UNSET else before.drain,
    )
    lacking = "; ".join(datastores_lack(cluster, observed, now))
    return steer(cluster, view, remembered, observed.memory, now.timestamp(), datastores=lacking)


def _objects(cluster: ChatCluster, observed: Observed, exposed: Exposed, scale: Scale) -> tuple[Object, ...]:
    """Identities, policies and configuration first, so that pods find what they start with."""
    image = cluster.spec.image.reference or observed.image
    here = policies.components(cluster)
    objects: list[Object] = [policies.service_account(cluster, component) for component in here]
    objects += policies.network_policies(cluster)
    objects += tls.requests(cluster)
    objects += [
        # While the clients of one node are under way no other is evicted: the budget of reconnects is one for all.
        policies.disruption_budget(cluster, component, hold=component == "node" and bool(scale.leaving))
        for component in here
    ]
    if cluster.spec.nats.managed is not None:
        objects += [
            nats.config_map(cluster, cluster.spec.nats.managed),
            nats.service(cluster),
            nats.stateful_set(cluster, cluster.spec.nats.managed),
        ]
    if cluster.spec.mongodb.managed is not None:
        replicas = mongodb.running_members(cluster.spec.mongodb.managed, observed.mongodb)
        objects += [
            mongodb.service(cluster),
            mongodb.stateful_set(cluster, cluster.spec.mongodb.managed, replicas),
        ]
    trust = tls.trust(cluster, observed.certificates)
    roles: tuple[chat.Role, chat.Role] = ("worker", "node")
    for role in roles:
        secret = access.access_secret(cluster, role, observed.credentials)
        objects += [secret] if secret is not None else []
        objects += [chat.config_map(cluster, role), chat.deployment(cluster, role, image, secret, trust)]
    return (*objects, chat.service(cluster, observed.nodes.pods), *exposed.objects)


def _mongodb_step(cluster: ChatCluster, observed: Observed) -> MongoStep | None:
    managed = cluster.spec.mongodb.managed
    if managed is None or observed.mongodb is None:
        return None
    return mongodb.next_step(cluster, managed, observed.mongodb)


def _decisions(
    cluster: ChatCluster, observed: Observed, now: datetime, scale: Scale, step: MongoStep | None
) -> tuple[Decision, ...]:
    """Newest first."""
    time = stamp(now)
    decisions: list[Decision] = []
    decisions += [Decision(time, what, why) for what, why in scale.told]
    decisions += [
        Decision(time, f"issue a certificate: {each.component}", each.why)
        for each in tls.issues(cluster, observed.certificates, now)
        if each.anew
    ]
    decisions += [
        Decision(time, f"{component} reads its certificate again", f"{len(members)} members show an older one")
        for component, members in observed.outdated.items()
    ]
    if step is not None:
        decisions.append(Decision(time, *_words(step, observed.mongodb or MongoView())))
    return tuple(decisions)


def _words(step: MongoStep, view: MongoView) -> tuple[str, str]:
    match step:
        case Initiate(members):
            return f"initiate MongoDB with {len(members)} members", "all of them answer and none has a configuration"
        case PutUsers():
            return "make MongoDB's users", "nodes and workers need them to get in"
        case Reconfigure(members, force):
            what = f"reconfigure MongoDB from {len(view.members)} to {len(members)} members"
            return what, "forced by annotation" if force else "one vote at a time"
