"""What an operator sees of accounts: lists and summaries over several tables. Reads only; hashes are never read.

What accounts do for their users is in `accounts.py`. Lists are read by pages along a key, so that their cost and memory
grow with the page and not with the table.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from storage.postgres.connections.database import Database
from storage.postgres.devices.devices import WORKER_LIFE_SECONDS

_PAGE_ROWS = 1000
# Above every user name; names are ASCII.
_ABOVE = "\U0010ffff"


class UserState(StrEnum):
    """What an account is; one that is deleted counts as that, whether it was disabled or not."""

    ACTIVE = "active"
    DISABLED = "disabled"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class UserRow:
    """An account in a list."""

    username: str
    state: UserState
    has_password: bool
    display_name: str
    create_time: datetime
    disable_time: datetime | None
    delete_time: datetime | None


@dataclass(frozen=True, slots=True)
class UserSummary:
    """An account and how much there is of it.

    Attributes:
        logins: those that are in force.
        streams: open ones, on workers that live.
        direct_conversations: with others or with oneself.
        groups: those that the user is in.
        unread: messages of others above the read positions, of all conversations.
        unsettled: messages that devices with manual acks were given and did not settle.
        last_seen_time: the latest use of a device or a login; None: never.
    """

    user: UserRow
    logins: int
    devices: int
    streams: int
    direct_conversations: int
    groups: int
    unread: int
    unsettled: int
    dead_letters: int
    last_seen_time: datetime | None


@dataclass(frozen=True, slots=True)
class LoginRow:
    """A login in a list; `refresh_time` is that of the last exchange of its refresh token, None: there was none."""

    login_id: str
    username: str
    device_id: str
    create_time: datetime
    refresh_time: datetime | None
    expire_time: datetime
    end_time: datetime | None


@dataclass(frozen=True, slots=True)
class DeviceRow:
    """A device in a list.

    Attributes:
        ack_mode: "none" while no stream has fixed it, "cumulative" or "manual".
        streams: open ones, on workers that live.
        positions: conversations in which it has acknowledged something.
        unsettled: messages that it was given and did not settle.
    """

    username: str
    device_id: str
    create_time: datetime
    last_use_time: datetime
    ack_mode: str
    streams: int
    positions: int
    unsettled: int
    dead_letters: int


_USER = """
SELECT u.username,
       CASE WHEN u.delete_time IS NOT NULL THEN 'deleted' WHEN u.disable_time IS NOT NULL THEN 'disabled'
            ELSE 'active' END AS state,
       u.password_hash IS NOT NULL AS has_password, u.display_name, u.create_time, u.disable_time, u.delete_time
FROM users u"""

_LIST = f"""
SELECT * FROM ({_USER} WHERE u.username > $1 AND u.username >= $2 AND u.username < $3) u
WHERE $4::text IS NULL OR u.state = $4
ORDER BY u.username LIMIT $5"""

# Streams of workers that did not beat for a while are over, whether their rows are still there or not.
_STREAMS = """
(SELECT count(*) FROM open_streams s JOIN workers w ON w.worker_id = s.worker_id
 WHERE s.username = {of}.username {and_device} AND w.beat_time > clock_timestamp() - make_interval(secs => $2))"""

_SUMMARY = f"""
SELECT u.*,
       (SELECT count(*) FROM logins l
        WHERE l.username = u.username AND l.end_time IS NULL AND l.expire_time > clock_timestamp()) AS logins,
       (SELECT count(*) FROM devices d WHERE d.username = u.username) AS devices,
       {_STREAMS.format(of="u", and_device="")} AS streams,
       m.direct_conversations, m.groups, m.unread,
       (SELECT count(*) FROM deliveries d WHERE d.username = u.username) AS unsettled,
       (SELECT count(*) FROM dead_letters d WHERE d.username = u.username) AS dead_letters,
       greatest((SELECT max(d.last_use_time) FROM devices d WHERE d.username = u.username),
                (SELECT max(coalesce(l.exchange_time, l.create_time)) FROM logins l
                 WHERE l.username = u.username AND l.end_time IS NULL)) AS last_seen_time
FROM ({_USER} WHERE u.username = $1) u
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE c.kind = 1) AS direct_conversations, count(*) FILTER (WHERE c.kind = 2) AS groups,
           coalesce(sum(greatest(c.message_count - m.read_count - m.own_unread, 0)), 0)::bigint AS unread
    FROM members m JOIN conversations c USING (conversation_id)
    WHERE m.username = u.username AND m.role > 0 AND c.delete_time IS NULL
) m"""

_LOGIN = (
    "SELECT login_id, username, device_id, create_time, exchange_time AS refresh_time, expire_time, end_time"
    " FROM logins WHERE"
)

_DEVICES = f"""
SELECT d.username, d.device_id, d.create_time, d.last_use_time,
       CASE d.ack_mode WHEN 1 THEN 'cumulative' WHEN 2 THEN 'manual' ELSE 'none' END AS ack_mode,
       {_STREAMS.format(of="d", and_device="AND s.device_id = d.device_id")} AS streams,
       (SELECT count(*) FROM cursors k WHERE k.username = d.username AND k.device_id = d.device_id) AS positions,
       (SELECT count(*) FROM deliveries o WHERE o.username = d.username AND o.device_id = d.device_id) AS unsettled,
       (SELECT count(*) FROM dead_letters l
        WHERE l.username = d.username AND l.device_id = d.device_id) AS dead_letters
FROM devices d WHERE d.username = $1 ORDER BY d.device_id"""


class AccountViews:
    """Reads of accounts, logins and devices for an operator.

    Every method can raise Unavailable (of `storage.errors`).
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def iter_users(
        self, *, prefix: str = "", state: UserState | None = None, after: str = "", limit: int | None = None
    ) -> AsyncIterator[UserRow]:
        """Streams accounts by name; one statement for each 1,000.

        Args:
            prefix: what names begin with.
            state: those alone; None: all.
            after: names above this one alone.
            limit: accounts at most; None: all.
        """
        left = limit
        while left is None or left > 0:
            wanted = _PAGE_ROWS if left is None else min(left, _PAGE_ROWS)
            rows = await self._database.fetch(_LIST, after, prefix, prefix + _ABOVE, state, wanted)
            for row in rows:
                yield _to_user_row(row)
            if len(rows) < wanted:
                return
            after = rows[-1]["username"]
            left = None if left is None else left - wanted

    async def find_summary(self, username: str) -> UserSummary | None:
        """Reads an account, a deleted one too, and counts what there is of it; one statement."""
        row = await self._database.fetchrow(_SUMMARY, username, WORKER_LIFE_SECONDS)
        if row is None:
            return None
        counts = {
            name: row[name]
            for name in (
                *("logins", "devices", "streams", "direct_conversations", "groups", "unread", "unsettled"),
                *("dead_letters", "last_seen_time"),
            )
        }
        return UserSummary(user=_to_user_row(row), **counts)

    async def list_logins(self, username: str) -> list[LoginRow]:
        """Lists the logins of a user that are in force, the oldest first; one statement."""
        rows = await self._database.fetch(
            f"{_LOGIN} username = $1 AND end_time IS NULL AND expire_time > clock_timestamp()"
            " ORDER BY create_time, login_id",
            username,
        )
        return [LoginRow(**row) for row in rows]

    async def find_logins(self, login_ids: list[str]) -> dict[str, LoginRow]:
        """Reads logins, ended ones too, by id; one statement."""
        rows = await self._database.fetch(f"{_LOGIN} login_id = ANY ($1)", login_ids)
        return {row["login_id"]: LoginRow(**row) for row in rows}

    async def list_devices(self, username: str) -> list[DeviceRow]:
        """Lists the devices of a user that keep positions, by id; one statement."""
        rows = await self._database.fetch(_DEVICES, username, WORKER_LIFE_SECONDS)
        return [DeviceRow(**row) for row in rows]


def _to_user_row(row: object) -> UserRow:
    values = {name: row[name] for name in UserRow.__slots__}  # type: ignore[index] # asyncpg's row
    return UserRow(**values | {"state": UserState(values["state"])})
