"""Nodes and workers as children, and the ports of a whole cluster."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from chatnode.local.children import HeldPort, Server, check_port_free
from chatnode.local.probing import http_status
from chatnode.local.servers import NodePorts


@dataclass(frozen=True, slots=True)
class Ports:
    """Every port that people may know; NATS and MongoDB take free ones."""

    front: int
    nodes: tuple[NodePorts, ...]
    worker_admin: int
    held: tuple[HeldPort, ...] = field(default=(), compare=False, repr=False)
    """Keeps them free for the cluster for as long as this value is there."""

    @classmethod
    def counted(cls, front: int, admin: int, nodes: int) -> "Ports":
        """The front door's port and the nodes' after it; the nodes' admin ports and the worker's after them."""
        return cls(front, tuple(NodePorts(front + 1 + n, admin + n) for n in range(nodes)), admin + nodes)

    @classmethod
    def free(cls, nodes: int) -> "Ports":
        held = tuple(HeldPort() for _ in range(2 + 2 * nodes))
        front, worker_admin, *others = (port.number for port in held)
        return cls(front, tuple(map(NodePorts, others[::2], others[1::2])), worker_admin, held)


class ChatProcess(Server):
    """A node or a worker; ready when its ``/readyz`` says so."""

    def __init__(
        self,
        name: str,
        kind: Literal["node", "worker"],
        ports: NodePorts,
        environment: Mapping[str, str],
        *,
        stop_within_s: float,
        sink: Callable[[str], None],
    ) -> None:
        super().__init__(name, ports.port, sink=sink)
        self.ports = ports
        self.stop_within_s = stop_within_s
        self._kind = kind
        self._environment = environment

    def command(self) -> Sequence[str]:
        return (sys.executable, "-m", "chatnode.cli", self._kind)

    def environment(self) -> Mapping[str, str]:
        return self._environment

    def check_ports(self) -> None:
        super().check_ports()
        check_port_free(self.ports.admin_port, f"the probes of {self.name}")

    async def probe(self) -> bool:
        return await http_status(self.ports.admin_port, "/readyz") == 200
