"""Ensures that all streams of a device acknowledge in the same mode, on whichever workers the streams are."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import structlog

from service.delivery.batcher import Batcher
from service.delivery.session import Session
from service.domain import errors
from storage.postgres.devices.devices import Devices

_log = structlog.get_logger(__name__)

# A client that ends a stream and opens one in another way may be faster than the word of the end.
_PATIENCE_SECONDS = 1.0
_PAUSE_SECONDS = 0.1
# Time for ends to gather: each batch costs a commit.
_GATHER_SECONDS = 0.02
_RETRY_SECONDS = 0.5


class DeviceModes:
    """The streams of a worker, as far as the database knows of them."""

    def __init__(self, devices: Devices) -> None:
        self._devices = devices
        self._ended: set[int] = set()
        self._batcher = Batcher(
            self.flush,
            gather_seconds=_GATHER_SECONDS,
            retry_seconds=_RETRY_SECONDS,
            on_unavailable=lambda error: _log.warning("ends of streams wait", count=len(self._ended), error=str(error)),
        )

    async def admit(self, session: Session, turn: Callable[[], AbstractAsyncContextManager[None]]) -> bool:
        """Notes a stream, which the caller must `forget` at its end; returns False when its device is not known.

        Args:
            turn: held for each try, and not in between.

        Raises:
            Overloaded: a turn did not come in time.
            AckModeMismatch: the device has another mode, and that is in use.
            Unavailable: the database is.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _PATIENCE_SECONDS
        while True:
            async with turn():
                is_admitted = await self._devices.admit_stream(
                    session.username, session.device_id, session.mode, session_id=session.session_id
                )
            if is_admitted is not False:
                return bool(is_admitted)
            if loop.time() >= deadline:
                raise errors.AckModeMismatch(session.device_id)
            await asyncio.sleep(_PAUSE_SECONDS)

    async def is_manual(self, username: str, device_id: str) -> bool:
        """Whether a device acknowledges each message alone; one statement."""
        return await self._devices.is_manual(username, device_id)

    def forget(self, session: Session) -> None:
        """Notes that a stream has ended."""
        self._ended.add(session.session_id)
        self._batcher.notify()

    async def run(self) -> None:
        """Removes ended streams from the database until it is cancelled."""
        await self._batcher.run()

    async def flush(self) -> None:
        """Removes the streams that have ended since the last flush from the database.

        Raises:
            Unavailable: the database is.
        """
        ended = set(self._ended)
        if ended:
            await self._devices.forget_streams(sorted(ended))
            self._ended -= ended
