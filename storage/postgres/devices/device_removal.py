"""Forgets a device for an operator: its logins end, its positions and what it did not settle go; one transaction.

What a device does while it is there is in `devices.py`, `positions.py` and `deliveries.py`. Order of locks: the user,
logins, the device, then what is the device's.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from storage.postgres.connections.database import Connection, Database
from storage.postgres.connections.lock_waits import retry_while_locked

_END_LOGINS = """
WITH ended AS (
    UPDATE logins SET end_time = $3 WHERE username = $1 AND device_id = $2 AND end_time IS NULL
    RETURNING login_id, username
)
INSERT INTO revocations (username, login_id, revoke_time, expire_time)
SELECT username, login_id, $3, $4 FROM ended"""


@dataclass(frozen=True, slots=True)
class RemovedDevice:
    """How much went with a device."""

    logins: int
    positions: int
    unsettled: int
    dead_letters: int


async def delete_device(
    database: Database, username: str, device_id: str, *, clock: Callable[[], datetime], token_life: timedelta
) -> RemovedDevice | None:
    """Forgets a device; None when the user has none of this id and no login on it.

    A stream of a token that belongs to no login goes on, and may leave positions that the upkeep removes.

    Args:
        token_life: how long a token of its logins can be good.

    Raises:
        Unavailable: the database is, or a row stayed locked; nothing was changed.
    """

    async def write() -> RemovedDevice | None:
        async with database.transaction() as connection:
            await connection.execute("SELECT 1 FROM users WHERE username = $1 FOR NO KEY UPDATE", username)
            now = clock()
            logins = _count(await connection.execute(_END_LOGINS, username, device_id, now, now + token_life))
            found = await connection.fetchval(
                "SELECT true FROM devices WHERE username = $1 AND device_id = $2 FOR UPDATE", username, device_id
            )
            if not found and not logins:
                return None
            removed = {
                table: await _delete(connection, table, username, device_id)
                for table in ("cursors", "deliveries", "dead_letters", "devices")
            }
        return RemovedDevice(logins, removed["cursors"], removed["deliveries"], removed["dead_letters"])

    return await retry_while_locked(write)


async def _delete(connection: Connection, table: str, username: str, device_id: str) -> int:
    return _count(
        await connection.execute(f"DELETE FROM {table} WHERE username = $1 AND device_id = $2", username, device_id)
    )


def _count(tag: str) -> int:
    return int(tag.rsplit(" ", 1)[1])
