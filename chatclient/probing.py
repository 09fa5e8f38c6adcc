"""A second connection until its welcome: what it presents, what the answer means. Pure."""

import msgspec
from msgspec import UNSET

from chatclient.following import Following
from chatclient.ladder import End
from chatnode.protocol.codec import decode_server_frame
from chatnode.protocol.frames import Connect, Error, Welcome


class Probing:
    def __init__(self) -> None:
        self.connect = ""
        """Id of the command that presents the cursors; empty while the connection is not open."""
        self.presented: dict[str, Following] = {}

    def opened(self, command: str, token: str, held: dict[str, Following]) -> Connect:
        """The first frame. The other connection goes on: what comes on both is dropped by its place in the order."""
        self.connect = command
        self.presented = held
        cursors = {room: following.cursor for room, following in held.items() if following.cursor}
        return Connect(id=command, token=token, cursors=cursors)

    def received(self, data: bytes | str) -> Welcome | End:
        """The welcome, else how the probe ends."""
        try:
            frame = decode_server_frame(data)
        except msgspec.DecodeError:
            return End()
        if isinstance(frame, Welcome) and frame.id == self.connect:
            return frame
        if isinstance(frame, Error):
            return End(error=frame.code, retry_after=None if frame.retry_after is UNSET else frame.retry_after)
        return End()
