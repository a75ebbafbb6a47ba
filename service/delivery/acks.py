"""Writes acks in batches: what arrives while one batch is written becomes the next.

An ack that is lost with the process costs a repeated delivery, never a message. Bounded by devices times conversations:
a later ack of the same device and conversation replaces the earlier one.
"""

import asyncio
from collections.abc import Callable

import structlog

from storage.errors import Unavailable
from storage.postgres.positions import Ack, Positions

_log = structlog.get_logger(__name__)

# Time for acks to gather: they are not urgent, and each batch costs a commit.
_GATHER_SECONDS = 0.05
_RETRY_SECONDS = 0.5
_MAX_BATCH = 2000


class AckWriter:
    """The acks of a worker's sessions on their way to the database.

    Args:
        epoch: of what is acknowledged here: acks of a worker that does not know of a restore yet are void.
        on_stored: called with (conversation, user) of acks that moved a cursor.
    """

    def __init__(self, positions: Positions, on_stored: Callable[[str, str], None], *, epoch: int) -> None:
        self._positions = positions
        self._epoch = epoch
        self._on_stored = on_stored
        self._waiting: dict[tuple[str, str, str], int] = {}
        self._filled = asyncio.Event()

    def note(self, username: str, device_id: str, conversation_id: str, seq: int) -> None:
        """Takes an ack that was checked."""
        key = (username, device_id, conversation_id)
        if seq > self._waiting.get(key, 0):
            self._waiting[key] = seq
            self._filled.set()

    async def run(self) -> None:
        """Writes until it is cancelled."""
        while True:
            await self._filled.wait()
            await asyncio.sleep(_GATHER_SECONDS)
            self._filled.clear()
            try:
                await self.flush()
            except Unavailable as error:
                _log.warning("acks wait", count=len(self._waiting), error=str(error))
                await asyncio.sleep(_RETRY_SECONDS)
                self._filled.set()

    async def flush(self) -> None:
        """Writes what waits.

        Raises:
            Unavailable: the database is; what was not written waits on.
        """
        while self._waiting:
            keys = list(self._waiting)[:_MAX_BATCH]
            batch = {key: self._waiting.pop(key) for key in keys}
            try:
                moved = await self._positions.store_acks(
                    [Ack(*key, seq) for key, seq in batch.items()], epoch=self._epoch
                )
            except BaseException:
                for key, seq in batch.items():
                    self._waiting[key] = max(seq, self._waiting.get(key, 0))
                raise
            for conversation_id, username in moved:
                self._on_stored(conversation_id, username)
