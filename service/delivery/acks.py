"""Writes acks in batches: what arrives while one batch is written becomes the next.

An ack that is lost with the process costs a repeated delivery, never a message. Bounded by devices times conversations:
a later ack of the same device and conversation replaces the earlier one. Who connects again, or ends a stream in order,
is not to be given what was acknowledged just now: `settle`.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence

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
        # (user, device) -> how many of its acks wait or are being written.
        self._unwritten: Counter[tuple[str, str]] = Counter()
        self._writing = asyncio.Lock()
        self._filled = asyncio.Event()

    def note(self, username: str, device_id: str, conversation_id: str, seq: int) -> None:
        """Takes an ack that was checked."""
        key = (username, device_id, conversation_id)
        if key not in self._waiting:
            self._unwritten[key[:2]] += 1
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

    async def settle(self, username: str, device_id: str) -> None:
        """Returns when the acks of a device that were taken so far are stored; at once when none waits.

        Raises:
            Unavailable: the database is; they wait on.
        """
        if (username, device_id) in self._unwritten:
            await self.flush()

    async def flush(self) -> None:
        """Writes what waits.

        Raises:
            Unavailable: the database is; what was not written waits on.
        """
        async with self._writing:
            while self._waiting:
                await self._write([(key, self._waiting.pop(key)) for key in list(self._waiting)[:_MAX_BATCH]])

    async def _write(self, batch: Sequence[tuple[tuple[str, str, str], int]]) -> None:
        try:
            moved = await self._positions.store_acks([Ack(*key, seq) for key, seq in batch], epoch=self._epoch)
        except BaseException:
            for key, seq in batch:
                if key in self._waiting:
                    self._forget(key)  # a later one of the same conversation came meanwhile, and counts
                self._waiting[key] = max(seq, self._waiting.get(key, 0))
            raise
        for key, _ in batch:
            self._forget(key)
        for conversation_id, username in moved:
            self._on_stored(conversation_id, username)

    def _forget(self, key: tuple[str, str, str]) -> None:
        device = key[:2]
        self._unwritten[device] -= 1
        if not self._unwritten[device]:
            del self._unwritten[device]
