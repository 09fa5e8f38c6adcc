"""Which epoch each partition is in, as the streams' metadata says (ARCHITECTURE §1)."""

import logging
from collections.abc import Callable
from typing import Final

from chatnode.broker.direct import DirectReader
from chatnode.broker.subjects import PARTITIONS, stream_name
from chatnode.rooms.ports import StreamMissing, Unavailable

logger = logging.getLogger(__name__)

EPOCH_KEY: Final = "chat-epoch"


class Epochs:
    def __init__(self, reader: DirectReader, raised: Callable[[int], None]) -> None:
        self._reader = reader
        self._raised = raised
        self._epochs: list[int | None] = [None] * PARTITIONS

    @property
    def known(self) -> bool:
        """Whether every partition's stream has been seen."""
        return None not in self._epochs

    def of(self, partition: int) -> int:
        """The partition's epoch; :class:`Unavailable` before its stream was seen."""
        epoch = self._epochs[partition]
        if epoch is None:
            raise Unavailable(f"partition {partition} has no stream yet; is a worker running?")
        return epoch

    async def refresh(self) -> None:
        """Read all of them again; ``raised`` is called for each that went up."""
        for partition in range(PARTITIONS):
            try:
                state = await self._reader.state(stream_name(partition))
            except StreamMissing as error:
                logger.warning("%s", error)
                continue
            text = state.metadata.get(EPOCH_KEY, "")
            if text.isdigit():
                self.raise_to(partition, int(text))
            else:
                logger.error("stream %s has no %s in its metadata", stream_name(partition), EPOCH_KEY)

    def raise_to(self, partition: int, epoch: int) -> None:
        """An epoch only grows."""
        known = self._epochs[partition]
        if known is not None and epoch <= known:
            return
        self._epochs[partition] = epoch
        if known is not None:
            logger.warning("partition %d: epoch %d → %d, its rooms start anew", partition, known, epoch)
            self._raised(partition)
