"""MongoDB: what was said, who may read it, and how far the streams have been folded into it.

Belongs here: everything that knows MongoDB's collections, and the only import of motor (:mod:`.client`). The folds are
pure (:mod:`.folds`); the rest executes them. Never here: NATS, sockets, who may do what.
"""
