"""``chat-operator simulate``: the operator's own decisions over a load that somebody has recorded or imagined.

What belongs here: a model of nodes, of a Deployment and of clients, driven second by second, and its picture. What
never does: decisions of its own; those are ``chatoperator.plan.scale``.
"""
