"""The chat cluster's data plane: stateless nodes and workers over NATS JetStream and MongoDB.

Imports go one way (``docs/architecture.md``, checked by import-linter):
``cli, local → app → transports, worker → rooms, identity → session → access → protocol``.
"""

__version__ = "0.1.0"
