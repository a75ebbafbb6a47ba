"""How a device acknowledges, and which of its streams are open on which worker.

The first hello fixes a device's mode; another one is let in when nothing of the old one is left: no open stream, no
unsettled message. Streams of workers that don't beat any more are over.
"""

from collections.abc import Sequence
from datetime import datetime

from storage.postgres.connections.database import Database
from storage.records import DeviceMode

# A worker that did not beat for this long is dead; several times what lies between two beats.
WORKER_LIFE_SECONDS = 15.0
BEAT_SECONDS = 3.0


class Devices:
    """Modes and open streams.

    Args:
        worker_id: the worker that asks.
    """

    def __init__(self, database: Database, *, worker_id: str) -> None:
        self._database = database
        self._worker_id = worker_id
        self._silent: set[tuple[str, datetime]] = set()  # workers that the last purge found silent, and since when

    async def admit_stream(self, username: str, device_id: str, mode: DeviceMode, *, session_id: int) -> bool | None:
        """Notes a stream and the use of its device, and fixes the device's mode; one statement.

        Every stream that was noted must be forgotten at its end.

        Returns:
            False when the device has another mode, and that is in use; None when the device is not known.
        """
        is_admitted: bool | None = await self._database.fetchval(
            "SELECT admit_stream($1, $2, $3::smallint, $4, $5, $6, $7, $8)",
            username,
            device_id,
            mode.ack_mode,
            mode.is_ordered,
            mode.no_echo,
            session_id,
            self._worker_id,
            WORKER_LIFE_SECONDS,
        )
        return is_admitted

    async def forget_streams(self, session_ids: Sequence[int]) -> None:
        """Notes that streams have ended, and that their devices were in use up to now; one statement."""
        await self._database.execute(
            """WITH ended AS (
                 DELETE FROM open_streams WHERE session_id = ANY ($1) RETURNING username, device_id
               ) UPDATE devices d SET last_use_time = clock_timestamp() FROM ended e
               WHERE d.username = e.username AND d.device_id = e.device_id
                 AND d.last_use_time < clock_timestamp() - interval '1 day'""",
            list(session_ids),
        )

    async def is_manual(self, username: str, device_id: str) -> bool:
        """Whether a device acknowledges each message alone."""
        return bool(
            await self._database.fetchval(
                "SELECT ack_mode = 2 FROM devices WHERE username = $1 AND device_id = $2", username, device_id
            )
        )

    async def beat(self) -> None:
        """Says that this worker lives."""
        await self._database.execute(
            "INSERT INTO workers VALUES ($1, clock_timestamp())"
            " ON CONFLICT (worker_id) DO UPDATE SET beat_time = excluded.beat_time",
            self._worker_id,
        )

    async def list_workers(self) -> list[str]:
        """Lists the workers of this database that live; a copy of it has those of the original only as dead ones."""
        rows = await self._database.fetch(
            "SELECT worker_id FROM workers WHERE beat_time > clock_timestamp() - make_interval(secs => $1)",
            WORKER_LIFE_SECONDS,
        )
        return [row["worker_id"] for row in rows]

    async def purge(self) -> None:
        """Forgets dead workers with their streams; safe to run on several workers.

        Dead is who has been silent since the purge before: when the database was away, all were silent.
        """
        rows = await self._database.fetch(
            "SELECT worker_id, beat_time FROM workers"
            " WHERE beat_time < clock_timestamp() - 4 * make_interval(secs => $1)",
            WORKER_LIFE_SECONDS,
        )
        silent = {(row["worker_id"], row["beat_time"]) for row in rows}
        dead, self._silent = sorted(silent & self._silent), silent
        if not dead:
            return
        await self._database.execute(
            """WITH dead AS (
                 DELETE FROM workers w USING unnest($1::text[], $2::timestamptz[]) AS d(worker_id, beat_time)
                 WHERE w.worker_id = d.worker_id AND w.beat_time = d.beat_time
                 RETURNING w.worker_id
               ) DELETE FROM open_streams s USING dead d WHERE s.worker_id = d.worker_id""",
            [worker_id for worker_id, _ in dead],
            [beat_time for _, beat_time in dead],
        )
