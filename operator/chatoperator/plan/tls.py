"""TLS between the cluster's own parts: whose certificates they show, when those are due, and what is lacking.

Everybody checks the servers' names. Members of one datastore share a certificate, whose name covers all of them:
NATS tells clients of its other members by address, and nats-py then asks for the name of the first.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from msgspec import Struct

from chatoperator.objects import Object
from chatoperator.plan.naming import child, member_hosts, metadata
from chatoperator.spec import ChatCluster

CERTIFICATE: Final = "tls.crt"
KEY: Final = "tls.key"
TRUST: Final = "ca.crt"
COMBINED: Final = "tls-combined.pem"
"""Key and certificate in one file, which is what mongod reads."""
AUTHORITY: Final = "authority"
FOLDER: Final = "/etc/tls"
"""Where a datastore's pod has its Secret."""
_YEAR_S: Final = 365 * 86_400.0
_KNOWN_S: Final = 2 * 86_400.0
"""After which a new authority is known to everybody who runs."""
_SOON_S: Final = 14 * 86_400.0


class Certificate(Struct, frozen=True):
    hosts: tuple[str, ...]
    since: float
    """Seconds since 1970."""
    until: float
    fingerprint: str
    """SHA-256 of its DER form."""


class Held(Struct, frozen=True):
    """What a Secret with a certificate holds."""

    certificate: Certificate | None = None
    """The first one; None where it cannot be read."""
    trust: str = ""
    """Authorities that are believed, PEM."""
    keys: frozenset[str] = frozenset()


class Issue(Struct, frozen=True):
    """A certificate to be made by our authority, or that authority itself."""

    metadata: Object
    component: str
    hosts: tuple[str, ...] = ()
    anew: bool = True
    """Else the certificate stays, and only the authorities beside it are brought up to date."""
    why: str = ""
    combined: bool = False


def components(cluster: ChatCluster) -> tuple[str, ...]:
    """The datastores that show a certificate."""
    if cluster.spec.tls.certificates == "Off":
        return ()
    managed = (("nats", cluster.spec.nats.managed), ("mongodb", cluster.spec.mongodb.managed))
    return tuple(name for name, asked in managed if asked is not None)


def secret_name(cluster: ChatCluster, component: str) -> str:
    """The Secret that holds a datastore's certificate, or the authority."""
    tls = cluster.spec.tls
    given = {"nats": tls.nats_secret, "mongodb": tls.mongodb_secret}.get(component, "")
    return given if tls.certificates == "Secret" and given else child(cluster, f"{component}-tls")


def secrets(cluster: ChatCluster) -> Mapping[str, str]:
    """Secret by component; with our authority where it issues."""
    names = [*components(cluster)]
    if names and cluster.spec.tls.certificates == "Operator":
        names.append(AUTHORITY)
    return {name: secret_name(cluster, name) for name in names}


def hosts(cluster: ChatCluster, component: str) -> tuple[str, ...]:
    """What the members are called within the cluster."""
    return (f"*.{child(cluster, component)}.{cluster.metadata.namespace}.svc",)


def issues(cluster: ChatCluster, held: Mapping[str, Held], now: datetime) -> tuple[Issue, ...]:
    """What our authority has to make now.

    An authority is replaced in its last year. Its successor is first only believed: a member's certificate is issued
    by it when it is due anyway (in the last third of its time), and not before everybody knows the authority.
    """
    if cluster.spec.tls.certificates != "Operator" or not components(cluster):
        return ()
    found: list[Issue] = []
    authority = held.get(AUTHORITY, Held())
    above = authority.certificate
    replaced = above is None or KEY not in authority.keys or above.until - now.timestamp() < _YEAR_S
    if replaced:
        found.append(_issue(cluster, AUTHORITY, why="there is none yet" if above is None else "it ends within a year"))
    young = above is None or now.timestamp() - above.since < _KNOWN_S
    for component in components(cluster):
        have = held.get(component, Held())
        why = _lacks(cluster, component, have) or _due(have, now.timestamp(), patient=young)
        if why:
            found.append(_issue(cluster, component, why=why))
        elif not replaced and have.trust != authority.trust:
            found.append(_issue(cluster, component, why="another authority is believed", anew=False))
    return tuple(found)


def _lacks(cluster: ChatCluster, component: str, have: Held) -> str:
    if have.certificate is None or not have.keys >= needed(component):
        return "there is none yet"
    return "" if set(have.certificate.hosts) == set(hosts(cluster, component)) else "it has other names"


def _due(have: Held, now: float, *, patient: bool) -> str:
    certificate = have.certificate
    if certificate is None:
        return ""
    left = certificate.until - now
    return "it ends soon" if left < (_KNOWN_S if patient else (certificate.until - certificate.since) / 3) else ""


def _issue(cluster: ChatCluster, component: str, *, why: str, anew: bool = True) -> Issue:
    named = () if component == AUTHORITY else hosts(cluster, component)
    meta = metadata(cluster, secret_name(cluster, component), component)
    return Issue(meta, component, named, anew, why, combined=component == "mongodb")


def needed(component: str) -> frozenset[str]:
    """Keys that a datastore's Secret has to have."""
    return frozenset({CERTIFICATE, KEY, TRUST, *((COMBINED,) if component == "mongodb" else ())})


def mounted(component: str) -> tuple[str, ...]:
    """Those that its servers read."""
    return (TRUST, COMBINED) if component == "mongodb" else (TRUST, CERTIFICATE, KEY)


def requests(cluster: ChatCluster) -> tuple[Object, ...]:
    """What cert-manager is asked for, where it issues."""
    tls = cluster.spec.tls
    if tls.certificates != "CertManager" or tls.issuer is None:
        return ()
    return tuple(
        {
            "apiVersion": "cert-manager.io/v1",
            "kind": "Certificate",
            "metadata": metadata(cluster, secret_name(cluster, component), component),
            "spec": {
                "secretName": secret_name(cluster, component),
                "commonName": child(cluster, component)[:64],
                "dnsNames": list(hosts(cluster, component)),
                "usages": ["digital signature", "server auth", "client auth"],
                "privateKey": {"algorithm": "ECDSA", "size": 256, "encoding": "PKCS8", "rotationPolicy": "Always"},
                "additionalOutputFormats": [{"type": "CombinedPEM"}],
                "issuerRef": {"name": tls.issuer.name, "kind": tls.issuer.kind, "group": "cert-manager.io"},
            },
        }
        for component in components(cluster)
    )


def lacking(cluster: ChatCluster, held: Mapping[str, Held]) -> list[str]:
    """What keeps pods from starting, in words."""
    certificates = cluster.spec.tls.certificates
    words = []
    for component in components(cluster):
        missing = needed(component) - held.get(component, Held()).keys
        if missing:
            hint = ": is cert-manager there, and its issuer ready?" if certificates == "CertManager" else ""
            words.append(f"Secret {secret_name(cluster, component)} lacks {', '.join(sorted(missing))}{hint}")
        elif held[component].certificate is None:
            words.append(f"{CERTIFICATE} of Secret {secret_name(cluster, component)} is no certificate")
    return words


def ended(cluster: ChatCluster, held: Mapping[str, Held], now: datetime) -> list[str]:
    """Certificates that nobody believes any more, with who was to renew them."""
    renews = {
        "Operator": "the operator renews it, unless it is paused or its authority is unusable",
        "CertManager": "cert-manager was to renew it: kubectl describe certificate",
        "Secret": "whoever wrote the Secret has to write a new one",
    }
    return [
        f"the certificate in Secret {secret_name(cluster, component)} has ended: "
        f"{renews[cluster.spec.tls.certificates]}"
        for component in components(cluster)
        if (certificate := held.get(component, Held()).certificate) is not None and certificate.until <= now.timestamp()
    ]


def strangers(cluster: ChatCluster, held: Mapping[str, Held]) -> list[str]:
    """Members whose certificate is for somebody else, so that nobody who checks names reaches them."""
    managed = {"nats": cluster.spec.nats.managed, "mongodb": cluster.spec.mongodb.managed}
    words = []
    for component in components(cluster):
        certificate, asked = held.get(component, Held()).certificate, managed[component]
        if certificate is None or asked is None:
            continue
        unnamed = [
            host
            for host in member_hosts(cluster, component, asked.replicas)
            if not {host, f"*.{host.partition('.')[2]}"} & set(certificate.hosts)
        ]
        if unnamed:
            words.append(f"the certificate in Secret {secret_name(cluster, component)} is not for {unnamed[0]}")
    return words


def ending(cluster: ChatCluster, held: Mapping[str, Held], now: datetime) -> list[str]:
    """Certificates that end within two weeks: whoever renews them has not."""
    return [
        f"the certificate in Secret {secret_name(cluster, component)} ends at "
        f"{datetime.fromtimestamp(certificate.until, UTC):%Y-%m-%dT%H:%M:%SZ}"
        for component in components(cluster)
        if (certificate := held.get(component, Held()).certificate) is not None
        and certificate.until - now.timestamp() < _SOON_S
    ]


def trust(cluster: ChatCluster, held: Mapping[str, Held]) -> tuple[str, ...]:
    """The authorities that nodes and workers read when they start."""
    return tuple(held.get(component, Held()).trust for component in components(cluster))
