"""What a connection is here, and what its errors become.

A connection keeps no state between uses (no LISTEN, no SET, no session locks) and never sends a cancel request.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg
from asyncpg import exceptions as pg

from storage import errors


class Connection(asyncpg.Connection):
    """A connection that is ended where asyncpg would cancel a statement.

    asyncpg cancels what takes too long and what its caller gives up. A commit that waits for a standby must not be
    cancelled: it becomes visible at once, would be found by the repeat, acknowledged, and lost with the primary. A
    backend whose client is gone goes on waiting instead, out of sight, until the standby has what it wrote.

    Attributes:
        generation: of the database's connections, when this one was made.
        is_spent: it is about to be ended.
    """

    generation: int = 0
    is_spent: bool = False

    def _cancel_current_command(
        self, waiter: "asyncio.Future[None]", cancel_waiter: "asyncio.Future[None] | None" = None
    ) -> None:
        # Called in the middle of asyncpg's own work on the connection, hence not now.
        self.is_spent = True
        asyncio.get_running_loop().call_soon(self.terminate)

    def is_usable(self) -> bool:
        """Whether another statement can be sent, outside a transaction."""
        return not self.is_spent and not self.is_closed() and not self.is_in_transaction()


# What says that the server, and not this statement or the data, is the trouble.
_AWAY = (
    pg.PostgresConnectionError,
    pg.OperatorInterventionError,
    pg.ReadOnlySQLTransactionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # of an idle connection that was told of a crash, on its next use
    OSError,  # TimeoutError is one
)
_PASSING = (
    *_AWAY,
    pg.InsufficientResourcesError,
    pg.PostgresSystemError,
    pg.TransactionRollbackError,
)


@contextmanager
def translated() -> Iterator[None]:
    """Turns what asyncpg and sockets raise into storage errors; others pass."""
    try:
        yield
    except pg.LockNotAvailableError as error:
        raise errors.LockTimeout(str(error)) from error
    except pg.UniqueViolationError as error:
        raise errors.Conflict(error.constraint_name or str(error)) from error
    except (pg.DataError, pg.IntegrityConstraintViolationError, pg.ProgramLimitExceededError) as error:
        raise errors.BadData(str(error)) from error
    except _PASSING as error:
        raise errors.Unavailable(f"{type(error).__name__}: {error}") from error


def tells_of_server(error: BaseException | None) -> bool:
    """Whether a driver's error says that the server is gone, going, hung, or a primary no more."""
    return isinstance(error, _AWAY)


def leaves_outcome_open(error: BaseException | None) -> bool:
    """Whether a statement may have taken effect although it raised: the server did not say that it failed."""
    return not isinstance(error, pg.PostgresError) or isinstance(
        error, (pg.PostgresConnectionError, pg.OperatorInterventionError, pg.StatementCompletionUnknownError)
    )


def server_settings(schema: str, lock_timeout_ms: int) -> dict[str, Any]:
    """The settings of a session."""
    return {
        "application_name": "parley",
        "search_path": schema,
        "lock_timeout": str(lock_timeout_ms),
        "timezone": "UTC",
        "jit": "off",  # plans here are short; compiling them costs more than running them
        # A server that looks for its client while a commit waits for the standby would cancel the wait.
        "client_connection_check_interval": "0",
    }
