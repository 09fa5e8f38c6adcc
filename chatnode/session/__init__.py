"""One client's session as a sans-I/O object: inputs in, outputs out; transports and drivers do the rest.

Belongs here: order of the protocol, limits of one peer, timers as values. Never here: sockets, NATS, MongoDB, clocks,
randomness; time is passed in, monotonic seconds.
"""
