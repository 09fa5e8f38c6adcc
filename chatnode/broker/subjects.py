"""Names of streams and subjects, and which partition a room lives in. Pure."""

import zlib
from typing import Final

PARTITIONS: Final = 8
"""P; immutable, because a room's history lives in the partition that its name hashes to."""
CONTROL_STREAM: Final = "CTRL"
CONTROL_SUBJECTS: Final = "ctl.>"
LIVE_CONTROL_PREFIX: Final = "live."
HISTORY_CONSUMER: Final = "history"
PROJECTION_CONSUMER: Final = "projection"


def partition_of(room: str) -> int:
    return zlib.crc32(room.encode()) % PARTITIONS


def stream_name(partition: int) -> str:
    return f"CHAT_{partition}"


def stream_subjects(partition: int) -> str:
    return f"chat.{partition}.room.*"


def room_subject(room: str) -> str:
    """Where a room's events are stored."""
    return f"chat.{partition_of(room)}.room.{room}"


def live_subject(room: str) -> str:
    """Where the server republishes a room's events once stored; passing events go there too, without its headers."""
    return f"live.{partition_of(room)}.room.{room}"


def live_control_subject(subject: str) -> str:
    """Where a control event is republished: ``ctl.room.x`` → ``live.ctl.room.x``."""
    return f"{LIVE_CONTROL_PREFIX}{subject}"
