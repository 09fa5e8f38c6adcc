"""One connection of one transport, as frames both ways: the same machine speaks through each.

Belongs here: WebSocket, a stream of events with POST, polls with POST, and what carries their frames. Never here: what
frames mean to the client, when to connect again, which transport comes next.
"""

from chatclient.lines.line import Ending, Line, Links

__all__ = ["Ending", "Line", "Links"]
