"""Who somebody is: tokens and the keys that prove them, and whether this node may still trust what it knows of rights.

Belongs here: verification of JWTs, the JWKS cache, the tail of control events as pure state. Never here: rooms, NATS,
or what an identity is allowed to do.
"""
