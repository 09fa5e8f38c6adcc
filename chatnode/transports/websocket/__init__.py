"""The WebSocket seam: a uvicorn WebSocket protocol class of ours over a sans-I/O RFC 6455 codec.

Belongs here: bytes on sockets: framing, handshake, write coalescing, backpressure, heartbeats, timeouts of peers.
Never here: what a message means; a transport carries bytes between a client and the application's receivers.

=================  ==================================================================================================
``frames``         pure: frames to bytes, bytes to messages
``handshake``      pure: what a handshake request is answered
``wheel``          timers, coarse and cheap: one loop timer for all sockets
``timers``         turns the wheel by the event loop
``backlog``        pure: how much waits for one client
``channel``        what the application sees: Acceptor, Receiver, Channel, limits
``host``           what the sockets of one node share: the flush, the sum of what waits, counters
``protocol``       the asyncio protocol that uvicorn upgrades to
``http``           uvicorn's HTTP protocol with deadlines from the first moment on
=================  ==================================================================================================
"""
