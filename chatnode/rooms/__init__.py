"""Rooms on this node: local fan-out, catch-up, rights held in memory, presence.

Belongs here: what a node knows of rooms and how it stays true. Never here: sockets, NATS, MongoDB; those are reached
through the protocols in :mod:`chatnode.rooms.ports`.
"""
