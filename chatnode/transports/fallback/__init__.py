"""The protocol without a WebSocket: a stream of events, polls, commands by POST (``docs/protocol.md``, "Fallbacks").

Belongs here: how requests carry frames. Never here: what frames mean; each request drives a session of its own, through
a channel of its own, and nothing is kept between two of them, so that any node serves any request.
"""
