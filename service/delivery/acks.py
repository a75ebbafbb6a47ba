"""Writes acks in batches: what arrives while one batch is written becomes the next.

An ack that is lost with the process costs a repeated delivery, never a message. Memory is bounded by devices times
conversations: the highest ack of a device and conversation replaces the lower ones. A client that connects again, or
half-closes, must not get again what it acknowledged just now: `settle` waits until that is stored.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection

import structlog

from service.delivery.batcher import Batcher
from storage.postgres.devices.cursors import Ack, Cursors

_log = structlog.get_logger(__name__)

# Time for acks to gather: they are not urgent, and each batch costs a commit.
_GATHER_SECONDS = 0.05
_RETRY_SECONDS = 0.5
# A batch takes devices, each with all that waits of it, until it has so many acks.
_MAX_BATCH = 2000


class AckWriter:
    """The acks of a worker's sessions on their way to the database.

    Args:
        epoch: of what is acknowledged here: acks of a worker that does not know of a restore yet are void.
        on_stored: called with (conversation, user) of acks that moved a cursor.
        pause: waits so many seconds, for more acks or for the database.
    """

    def __init__(
        self,
        cursors: Cursors,
        on_stored: Callable[[str, str], None],
        *,
        epoch: int,
        pause: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._cursors = cursors
        self._epoch = epoch
        self._on_stored = on_stored
        # (user, device) -> conversation -> seq.
        self._waiting: dict[tuple[str, str], dict[str, int]] = {}
        self._in_flight: Collection[tuple[str, str]] = ()
        self._writing = asyncio.Lock()
        self._batcher = Batcher(
            self.flush,
            gather_seconds=_GATHER_SECONDS,
            retry_seconds=_RETRY_SECONDS,
            on_unavailable=lambda error: _log.warning("acks wait", device_count=len(self._waiting), error=str(error)),
            pause=pause,
        )

    def note(self, username: str, device_id: str, conversation_id: str, seq: int) -> None:
        """Takes an ack that was checked."""
        seqs = self._waiting.setdefault((username, device_id), {})
        if seq > seqs.get(conversation_id, 0):
            seqs[conversation_id] = seq
            self._batcher.notify()

    async def run(self) -> None:
        """Writes until it is cancelled."""
        await self._batcher.run()

    async def settle(self, username: str, device_id: str) -> None:
        """Returns when the acks of a device that were taken so far are stored; at once when none waits.

        The call waits for one batch of others at most, however many acks come.

        Raises:
            Unavailable: (of `storage.errors`) the database is; the acks wait on.
        """
        device = (username, device_id)
        if device in self._waiting or device in self._in_flight:
            async with self._writing:
                if device in self._waiting:
                    await self._write({device: self._waiting.pop(device)})

    async def flush(self) -> None:
        """Writes all acks that wait.

        Raises:
            Unavailable: (of `storage.errors`) the database is; the acks that were not written wait on.
        """
        while self._waiting:
            async with self._writing:
                batch: dict[tuple[str, str], dict[str, int]] = {}
                count = 0
                while self._waiting and count < _MAX_BATCH:
                    device = next(iter(self._waiting))
                    batch[device] = self._waiting.pop(device)
                    count += len(batch[device])
                await self._write(batch)

    async def _write(self, batch: dict[tuple[str, str], dict[str, int]]) -> None:
        self._in_flight = batch
        try:
            acks = [Ack(*device, name, seq) for device, seqs in batch.items() for name, seq in seqs.items()]
            moved = await self._cursors.store_acks(acks, epoch=self._epoch)
        except BaseException:
            for device, seqs in batch.items():  # higher ones may have come meanwhile
                waiting = self._waiting.setdefault(device, {})
                for name, seq in seqs.items():
                    waiting[name] = max(seq, waiting.get(name, 0))
            raise
        finally:
            self._in_flight = ()
        for conversation_id, username in moved:
            self._on_stored(conversation_id, username)
