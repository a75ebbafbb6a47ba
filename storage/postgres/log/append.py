"""The write side of the log: a connection that stores batches of messages, one call a batch.

Each lane of the writer has an appender of its own. After a failure whose outcome is not known the connection is
terminated and never cancelled: a cancelled wait for a standby makes the commit visible, and a message could be
acknowledged and then lost (ADR 8).
"""

import asyncio
from collections.abc import Sequence

import asyncpg

from storage import errors
from storage.postgres.connections.connection import Connection, leaves_outcome_open
from storage.postgres.connections.database import Database
from storage.postgres.log.batches import STORE, Batch
from storage.records import Draft, Stored

# Commits stand still: one of ours has waited for a standby for longer than a standby takes.
_STUCK = """
SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep'
               AND application_name = current_setting('application_name')
               AND usename = current_user AND state_change < clock_timestamp() - interval '1 s')"""


class Appender:
    """One connection that stores batches; it is opened at the first use and after each failure.

    Args:
        database: opens the connection.
        lock_timeout_ms: how long a batch waits for a conversation that another transaction has locked.
    """

    def __init__(self, database: Database, *, lock_timeout_ms: int = 250) -> None:
        self._database = database
        self._lock_timeout_ms = lock_timeout_ms
        self._connection: Connection | None = None
        self._statement: asyncpg.prepared_stmt.PreparedStatement[asyncpg.Record] | None = None
        self._is_warned = False
        self._was_too_slow = False  # the last batch ran into its time limit

    async def store(self, drafts: Sequence[Draft]) -> list[Stored]:
        """Stores a batch in one transaction; returns the outcome of each draft, in order.

        Of drafts with equal (conversation, sender, request id) the first is stored; the others get its outcome.

        Raises:
            LockTimeout: a conversation stayed locked; nothing was stored.
            BadData: the database can't hold one of the drafts; nothing was stored.
            Unavailable: there is no connection, or commits stand still; nothing was stored.
            OutcomeUnknown: the answer did not come; the batch may be stored. Asking again gives DUPLICATE then.
        """
        batch = Batch(drafts)
        answers = await self._store_distinct(batch)
        return batch.with_repeats(answers) if batch.has_repeats else answers

    async def _store_distinct(self, batch: Batch) -> list[Stored]:
        connection, statement = await self._open()
        try:
            with self._database.guarded(connection):
                self._database.statement_count += 1
                rows = await statement.fetch(*batch.arguments())
        except (errors.LockTimeout, errors.BadData):
            raise
        except errors.Unavailable as error:
            if not leaves_outcome_open(error.__cause__):
                raise
            self._was_too_slow = isinstance(error.__cause__, TimeoutError)
            self.discard()
            raise errors.OutcomeUnknown(str(error)) from error
        except asyncio.CancelledError:
            self.discard()
            raise
        if self._is_warned:
            self.discard()
            raise errors.OutcomeUnknown("the server warned, perhaps that the commit did not wait for the standby")
        return batch.to_answers(rows)

    async def _open(self) -> "tuple[Connection, asyncpg.prepared_stmt.PreparedStatement[asyncpg.Record]]":
        connection, statement = self._connection, self._statement
        if connection is not None and statement is not None and self._database.is_good(connection):
            return connection, statement
        self.discard()
        self._connection = connection = await self._database.connect()
        with self._database.guarded(connection):
            await connection.execute(f"SET lock_timeout = {self._lock_timeout_ms}")
            if self._was_too_slow and await connection.fetchval(_STUCK):
                # Each further attempt would leave one more backend that waits, until there is no connection left.
                raise errors.Unavailable("an earlier write still waits for the standby")
            self._was_too_slow = False
            self._statement = statement = await connection.prepare(STORE)
        # The one warning that a store can give: an operator cancelled the commit's wait for the standby.
        connection.add_log_listener(self._note_warning)
        self._is_warned = False
        return connection, statement

    def _note_warning(self, _connection: object, message: asyncpg.PostgresLogMessage) -> None:
        self._is_warned = self._is_warned or message.severity_en == "WARNING"

    def discard(self) -> None:
        """Terminates the connection at once, without a message to the server."""
        if self._connection is not None:
            self._connection.terminate()
        self._connection = None
        self._statement = None
