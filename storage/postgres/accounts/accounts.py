"""Users, their logins, and what ended before its token did: the tables users, logins and revocations.

Nothing here knows what a token is or who may do what; `service/auth/` does. Memberships are not here either.

Order of locks: the users row first, then its logins. What ends all logins of a user asks the clock only after it holds
both, so whatever was issued for one of them, with its time taken before it was stored, is older than the revocation.
Where a method takes `clock`, that is this clock; `token_life` is how long a token that it revokes can be good.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta

import asyncpg

from storage.errors import Absent, Conflict
from storage.postgres.connections.database import Connection, Database
from storage.records import Login, Revocation, User

# Accounts whose passwords are ours. Another issuer's name stands for an identity provider.
OWN_ISSUER = "parley"

_USER = "username, display_name, avatar_uri, create_time, delete_time, disable_time, password_hash"
_LOGIN = (
    "login_id, username, device_id, refresh_hash, previous_hash, previous_request, exchange_time, expire_time, end_time"
)
_REVOCATION = "revocation_id, username, login_id, revoke_time, expire_time"
_INSERT_LOGIN = "INSERT INTO logins (login_id, username, device_id, refresh_hash, expire_time) "


class Accounts:
    """Reads and writes accounts.

    Every method can raise Unavailable (of `storage.errors`) besides what it says, LockTimeout included.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create_user(
        self,
        username: str,
        *,
        display_name: str = "",
        password_hash: str | None = None,
        login: Login | None = None,
    ) -> User:
        """Makes an account and, where given, its first login: both or neither.

        Raises:
            Conflict: the name is or was somebody's.
        """
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(
                "INSERT INTO users (username, issuer, subject, display_name, password_hash) "
                f"VALUES ($1, $2, $1, $3, $4) ON CONFLICT DO NOTHING RETURNING {_USER}",
                username,
                OWN_ISSUER,
                display_name,
                password_hash,
            )
            if row is None:
                raise Conflict(username)
            if login is not None:
                await _insert_login(connection, login)
        return _to_user(row)

    async def create_users(
        self, usernames: Iterable[str], *, password_hash: str | None = None, all_new: bool = False
    ) -> list[str]:
        """Makes accounts, all or nothing; returns the names that were new, sorted.

        One statement.

        Args:
            password_hash: the same for all; None: they can't log in by password.
            all_new: a name that exists already, or did, is a conflict; else it is left as it is.

        Raises:
            Conflict: `all_new`, and one is not.
        """
        rows = await self._database.fetch(
            "INSERT INTO users (username, issuer, subject, password_hash) "
            "SELECT name, $2, name, $3 FROM unnest($1::text[]) AS name "
            f"{'' if all_new else 'ON CONFLICT DO NOTHING'} RETURNING username",
            sorted(set(usernames)),
            OWN_ISSUER,
            password_hash,
        )
        return sorted(row["username"] for row in rows)

    async def get_user(self, username: str) -> User:
        """Reads an account; a tombstone too.

        Raises:
            Absent: there never was one of this name.
        """
        user = await self.find_user(username)
        if user is None:
            raise Absent(username)
        return user

    async def find_user(self, username: str) -> User | None:
        """Reads an account, if there is or was one of this name."""
        row = await self._database.fetchrow(f"SELECT {_USER} FROM users WHERE username = $1", username)
        return None if row is None else _to_user(row)

    async def find_users(self, usernames: Sequence[str]) -> dict[str, User]:
        """Reads those that exist or did, by name; one statement."""
        rows = await self._database.fetch(f"SELECT {_USER} FROM users WHERE username = ANY ($1)", list(usernames))
        return {row["username"]: _to_user(row) for row in rows}

    async def update_profile(self, username: str, *, display_name: str | None, avatar_uri: str | None) -> User:
        """Changes what is given (None: unchanged) and returns the account as it is then.

        Raises:
            Absent: there is no such account, or no more.
        """
        row = await self._database.fetchrow(
            "UPDATE users SET display_name = coalesce($2, display_name), avatar_uri = coalesce($3, avatar_uri) "
            f"WHERE username = $1 AND delete_time IS NULL RETURNING {_USER}",
            username,
            display_name,
            avatar_uri,
        )
        if row is None:
            raise Absent(username)
        return _to_user(row)

    async def replace_password_hash(self, username: str, old_hash: str, new_hash: str) -> bool:
        """Stores another hash of the same password; False when the old one is not in force any more."""
        tag = await self._database.execute(
            "UPDATE users SET password_hash = $3 WHERE username = $1 AND password_hash = $2 AND delete_time IS NULL",
            username,
            old_hash,
            new_hash,
        )
        return tag == "UPDATE 1"

    async def set_password(
        self,
        username: str,
        password_hash: str,
        *,
        old_hash: str | None = None,
        login: Login | None = None,
        clock: Callable[[], datetime],
        token_life: timedelta,
    ) -> Revocation:
        """Sets a password, ends all logins of the account and, where given, makes a new one: all or nothing.

        Where `old_hash` is given, it has to be in force. A disabled account gets no login.

        Raises:
            Absent: there is no such account, or no more, or one of these is not so.
        """
        async with self._database.transaction() as connection:
            tag = await connection.execute(
                "UPDATE users SET password_hash = $2 "
                "WHERE username = $1 AND delete_time IS NULL AND ($3::text IS NULL OR password_hash = $3) "
                "AND ($4 OR disable_time IS NULL)",
                username,
                password_hash,
                old_hash,
                login is None,
            )
            if tag != "UPDATE 1":
                raise Absent(username)
            revocation = await _end_all(connection, username, clock, token_life)
            if login is not None:
                await _insert_login(connection, login)
        return revocation

    async def disable_user(self, username: str, *, clock: Callable[[], datetime], token_life: timedelta) -> Revocation:
        """Shuts an account out and ends its logins; idempotent.

        Raises:
            Absent: there is no such account, or no more.
        """
        return await self._close(
            "UPDATE users SET disable_time = coalesce(disable_time, clock_timestamp()) "
            "WHERE username = $1 AND delete_time IS NULL",
            username,
            clock,
            token_life,
        )

    async def enable_user(self, username: str) -> None:
        """Lets an account in again; idempotent. Logins that were ended stay so.

        Raises:
            Absent: there is no such account, or no more.
        """
        tag = await self._database.execute(
            "UPDATE users SET disable_time = NULL WHERE username = $1 AND delete_time IS NULL", username
        )
        if tag != "UPDATE 1":
            raise Absent(username)

    async def delete_user(self, username: str, *, clock: Callable[[], datetime], token_life: timedelta) -> Revocation:
        """Leaves of an account just its name and times, and ends its logins.

        Raises:
            Absent: there is no such account, or no more.
        """
        return await self._close(
            "UPDATE users SET delete_time = clock_timestamp(), display_name = '', avatar_uri = '', "
            "password_hash = NULL WHERE username = $1 AND delete_time IS NULL",
            username,
            clock,
            token_life,
        )

    async def create_login(self, login: Login, *, password_hash: str) -> bool:
        """Makes a login of an account on which this very hash is in force; False when it is not, or not any more.

        The lock waits for whoever is just changing, disabling or deleting the account, and then looks again.
        """
        row = await self._database.fetchrow(
            f"{_INSERT_LOGIN} SELECT $1, u.username, $3, $4, $5 FROM users u "
            "WHERE u.username = $2 AND u.password_hash = $6 AND u.delete_time IS NULL AND u.disable_time IS NULL "
            "FOR SHARE OF u RETURNING login_id",
            login.login_id,
            login.username,
            login.device_id,
            login.refresh_hash,
            login.expire_time,
            password_hash,
        )
        return row is not None

    async def find_login(self, login_id: str) -> Login | None:
        """Reads a login as it is after whoever is just changing it."""
        row = await self._database.fetchrow(f"SELECT {_LOGIN} FROM logins WHERE login_id = $1 FOR SHARE", login_id)
        return None if row is None else _to_login(row)

    async def exchange(
        self,
        login_id: str,
        presented_hash: bytes,
        successor_hash: bytes,
        *,
        request_id: str,
        now: datetime,
        expire_time: datetime,
    ) -> Login | None:
        """Puts the successor in the place of the token presented; None when that one is not good.

        One statement that compares and sets: of any number of exchanges of one token at once, one succeeds.
        """
        row = await self._database.fetchrow(
            "UPDATE logins SET refresh_hash = $3, previous_hash = $2, previous_request = $4, exchange_time = $5, "
            "expire_time = $6 WHERE login_id = $1 AND refresh_hash = $2 AND end_time IS NULL AND expire_time > $5 "
            f"RETURNING {_LOGIN}",
            login_id,
            presented_hash,
            successor_hash,
            request_id,
            now,
            expire_time,
        )
        return None if row is None else _to_login(row)

    async def end_login(self, login_id: str, *, now: datetime, token_life: timedelta) -> Revocation | None:
        """Ends a login and appends its revocation; None when it had ended, or there is none."""
        row = await self._database.fetchrow(
            "WITH ended AS (UPDATE logins SET end_time = $2 WHERE login_id = $1 AND end_time IS NULL "
            "RETURNING username) "
            "INSERT INTO revocations (username, login_id, revoke_time, expire_time) "
            f"SELECT username, $1, $2, $3 FROM ended RETURNING {_REVOCATION}",
            login_id,
            now,
            now + token_life,
        )
        return None if row is None else _to_revocation(row)

    async def end_logins(self, username: str, *, clock: Callable[[], datetime], token_life: timedelta) -> Revocation:
        """Ends all logins of an account that stays as it is.

        Raises:
            Absent: there is no such account, or no more.
        """
        return await self._close(
            "UPDATE users SET username = username WHERE username = $1 AND delete_time IS NULL",
            username,
            clock,
            token_life,
        )

    async def list_revocations(self, after_id: int, *, now: datetime, limit: int) -> list[Revocation]:
        """Reads those with higher ids that still matter, in the order of their ids.

        Ids are given before the commit, so a lower one can appear later.
        """
        rows = await self._database.fetch(
            f"SELECT {_REVOCATION} FROM revocations WHERE revocation_id > $1 AND expire_time > $2 "
            "ORDER BY revocation_id LIMIT $3",
            after_id,
            now,
            limit,
        )
        return [_to_revocation(row) for row in rows]

    async def _close(
        self, change_user: str, username: str, clock: Callable[[], datetime], token_life: timedelta
    ) -> Revocation:
        async with self._database.transaction() as connection:
            if await connection.execute(change_user, username) != "UPDATE 1":
                raise Absent(username)
            return await _end_all(connection, username, clock, token_life)


async def _insert_login(connection: Connection, login: Login) -> None:
    await connection.execute(
        f"{_INSERT_LOGIN} VALUES ($1, $2, $3, $4, $5)",
        login.login_id,
        login.username,
        login.device_id,
        login.refresh_hash,
        login.expire_time,
    )


async def _end_all(
    connection: Connection, username: str, clock: Callable[[], datetime], token_life: timedelta
) -> Revocation:
    """Ends the logins of a user whose row the transaction has locked."""
    await connection.execute(
        "UPDATE logins SET end_time = clock_timestamp() WHERE username = $1 AND end_time IS NULL", username
    )
    revoke_time = clock()
    row = await connection.fetchrow(
        f"INSERT INTO revocations (username, revoke_time, expire_time) VALUES ($1, $2, $3) RETURNING {_REVOCATION}",
        username,
        revoke_time,
        revoke_time + token_life,
    )
    assert row is not None  # an INSERT without a condition gives its row
    return _to_revocation(row)


def _to_user(row: asyncpg.Record) -> User:
    return User(**row)


def _to_login(row: asyncpg.Record) -> Login:
    return Login(**row)


def _to_revocation(row: asyncpg.Record) -> Revocation:
    return Revocation(**row)
