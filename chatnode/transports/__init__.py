"""Ways in: WebSocket and REST, later SSE and long-poll; each is thin and drives the same session.

Belongs here: bytes, headers and status codes. Never here: rules, rooms, or what two transports would decide alike.
"""
