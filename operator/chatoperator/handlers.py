"""What kopf calls: every event of a ChatCluster or of a workload of one says "look again", and nothing else.

Only low-level event handlers, so that kopf writes nothing: no finalizers, no annotations, no Events of its own.
"""

import logging
from collections.abc import Mapping
from typing import Final

import kopf

from chatoperator.kube import Kube
from chatoperator.plan.naming import MANAGER
from chatoperator.reconcile import Key, Reconciler
from chatoperator.spec import GROUP, PLURAL, VERSION

_WATCHED: Final = (("apps", "v1", "deployments"), ("apps", "v1", "statefulsets"))
_INSTANCE: Final = "app.kubernetes.io/instance"


def register(registry: kopf.OperatorRegistry, reconciler: Reconciler) -> None:
    """Connects events with the loop."""

    async def on_cluster(
        *,
        namespace: str | None,
        name: str | None,
        meta: Mapping[str, object],
        annotations: Mapping[str, str],
        type: str | None,  # noqa: A002  kopf's name
        **_: object,
    ) -> None:
        if namespace and name:
            wish = (type == "DELETED", meta.get("uid"), meta.get("generation"), tuple(sorted(annotations.items())))
            reconciler.saw((namespace, name), wish)

    async def on_child(*, namespace: str | None, labels: Mapping[str, str], **_: object) -> None:
        key: Key = (namespace or "", labels.get(_INSTANCE, ""))
        if all(key):
            reconciler.wake(key)

    kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)(on_cluster)
    for resource in _WATCHED:
        kopf.on.event(*resource, registry=registry, labels={"app.kubernetes.io/managed-by": MANAGER})(on_child)


def register_login(registry: kopf.OperatorRegistry, kube: Kube) -> None:
    """kopf comes in by the way that the operator's own client has found."""

    async def log_in(**_: object) -> kopf.ConnectionInfo:
        found = await kube.connection()
        return kopf.ConnectionInfo(
            server=found.server,
            ca_path=found.ca_file or None,
            token=found.token or None,
            certificate_path=found.certificate_file or None,
            private_key_path=found.key_file or None,
        )

    kopf.on.login(registry=registry)(log_in)


def configure(settings: kopf.OperatorSettings) -> None:
    """Every wait of kopf has an end; it posts nothing below a warning and keeps its notes under our own name."""
    settings.posting.level = logging.WARNING
    settings.posting.enabled = False
    settings.persistence.finalizer = f"{GROUP}/kopf"
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=GROUP)
    settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=GROUP)
    settings.watching.server_timeout = 270
    settings.watching.client_timeout = 300
    settings.watching.connect_timeout = 15
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 10
    settings.scanning.disabled = True
    for _, _, plural in _WATCHED:
        settings.watching.label_selectors[plural] = f"app.kubernetes.io/managed-by={MANAGER}"
