"""Admits streams at their hello: turns in a storm of reconnects, and the note of the stream and its device.

A few hellos at a time read from the database, so that a storm leaves connections of the pool to other calls. Where a
session begins is `attach.py`; that all streams of a device acknowledge in one way is `device_modes.py`.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from service.delivery.device_modes import DeviceModes
from service.delivery.session import Session
from service.domain import errors
from storage.postgres.devices.cursors import Cursors

_CONCURRENT_HELLOS = 3
_WAIT_SECONDS = 30.0


class Admission:
    """The turns of a worker's hellos.

    Args:
        max_devices: how many devices of a user keep positions.
    """

    def __init__(self, cursors: Cursors, modes: DeviceModes, *, max_devices: int) -> None:
        self._cursors = cursors
        self._modes = modes
        self._max_devices = max_devices
        self._slots = asyncio.Semaphore(_CONCURRENT_HELLOS)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Waits for a turn and holds it.

        Raises:
            Overloaded: the turn did not come within 30 s.
        """
        try:
            async with asyncio.timeout(_WAIT_SECONDS):
                await self._slots.acquire()
        except TimeoutError:
            raise errors.Overloaded("hellos") from None
        try:
            yield
        finally:
            self._slots.release()

    async def enroll(self, session: Session, *, starts_at_latest: bool = False) -> None:
        """Notes a stream and its device in the database; one statement when the device is known.

        Each try is a turn of its own: a stream that waits for the end of the device's other mode holds up nobody.

        Args:
            starts_at_latest: a new device begins at the end, also where the user has read something.

        Raises:
            TooManyDevices: the device is new, and the user has as many as a user may have.
            Overloaded: a turn did not come in time.
            AckModeMismatch: the device acknowledges in another way, and that is in use.
            Unavailable: (of `storage.errors`) the database is.
        """
        while not await self._modes.admit(session, self.turn):
            async with self.turn():
                is_enrolled = await self._cursors.enroll_device(
                    session.username,
                    session.device_id,
                    max_devices=self._max_devices,
                    starts_at_latest=starts_at_latest,
                )
            if not is_enrolled:
                raise errors.TooManyDevices(self._max_devices)
