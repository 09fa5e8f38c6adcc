"""What the operator is told from outside, by ``CHAT_OPERATOR_*`` variables."""

import socket
from collections.abc import Mapping
from typing import Final, Self

from msgspec import Struct

PREFIX: Final = "CHAT_OPERATOR_"


class OperatorSettingsError(ValueError):
    """A variable that cannot be used: which, and what is allowed."""


class OperatorSettings(Struct, frozen=True, kw_only=True):
    image: str
    """What nodes and workers run unless a ChatCluster names another."""
    namespace: str = "default"
    """Where the operator itself is: its Lease lives there."""
    watch: tuple[str, ...] = ()
    """Namespaces whose ChatClusters are cared for; none: all."""
    kubeconfig: str = ""
    """Empty: as the pod that this runs in."""
    instance: str = ""
    resync_s: float = 45.0
    health_port: int = 8080
    log_level: str = "info"

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """Raises :class:`OperatorSettingsError`."""

        def read(name: str, default: str = "") -> str:
            return env.get(PREFIX + name, "").strip() or default

        image = read("IMAGE")
        if not image:
            raise OperatorSettingsError(f"{PREFIX}IMAGE is empty: name the image that nodes and workers run")
        try:
            resync, port = float(read("RESYNC_S", "45")), int(read("HEALTH_PORT", "8080"))
        except ValueError as error:
            raise OperatorSettingsError(f"{PREFIX}RESYNC_S and {PREFIX}HEALTH_PORT are numbers: {error}") from error
        if not 1 <= resync <= 600:
            raise OperatorSettingsError(f"{PREFIX}RESYNC_S={resync}: from 1 to 600 seconds")
        return cls(
            image=image,
            namespace=read("NAMESPACE", "default"),
            watch=tuple(name.strip() for name in read("WATCH").split(",") if name.strip()),
            kubeconfig=read("KUBECONFIG"),
            instance=read("INSTANCE", socket.gethostname()),
            resync_s=resync,
            health_port=port,
            log_level=read("LOG_LEVEL", "info"),
        )
