"""What a connection is here, and what its errors become.

A connection keeps no state between uses beyond the settings of its session (`session.py`), and never sends a cancel
request.
"""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, ClassVar

import asyncpg
from asyncpg import exceptions as pg

from storage import errors
from storage.postgres.connections.faults import TRANSACTION_POOLING

# Types below this number are the same in every database: PostgreSQL's src/include/access/transam.h.
_FIRST_OWN_TYPE = 10_000


class Connection(asyncpg.Connection):
    """A connection that is ended where asyncpg would cancel a statement, and that need not ask what bigint[] is.

    asyncpg cancels what takes too long and what its caller gives up. A commit that waits for a standby must not be
    cancelled: it becomes visible at once, would be found by the repeat, acknowledged, and lost with the primary. A
    backend whose client is gone goes on waiting instead, out of sight, until the standby has what it wrote.

    Attributes:
        generation: of the database's connections, when this one was made.
        is_pooled: a pooler is on the way: the server's process is not the one that was told at the start.
        is_spent: it is about to be ended.
    """

    generation: int = 0
    is_pooled: bool = False
    is_spent: bool = False
    # What asyncpg learned of PostgreSQL's own types, by what it asked for. It asks on each connection for each set of
    # types that it does not know of itself, which are most arrays; the answer takes PostgreSQL 15 to 50 ms.
    _known_types: ClassVar[dict[frozenset[int], list[asyncpg.Record]]] = {}

    async def _introspect_types(self, typeoids: Iterable[int], timeout: float | None) -> tuple[Any, Any]:
        wanted = frozenset(typeoids)
        known = self._known_types.get(wanted)
        if known is not None:
            # The other value is the statement by which they were asked for. One with a name has replaced no other one.
            return known, SimpleNamespace(name="none")
        found, statement = await super()._introspect_types(wanted, timeout)  # type: ignore[misc] # the stubs lack it
        if max(wanted) < _FIRST_OWN_TYPE:
            self._known_types[wanted] = found
        return found, statement

    def _cancel_current_command(
        self, waiter: "asyncio.Future[None]", cancel_waiter: "asyncio.Future[None] | None" = None
    ) -> None:
        # Called in the middle of asyncpg's own work on the connection, hence not now.
        self.is_spent = True
        asyncio.get_running_loop().call_soon(self.terminate)

    def get_socket(self) -> Any:
        """Returns the socket, or what stands for it; None where there is none."""
        return self._transport.get_extra_info("socket")  # type: ignore[attr-defined] # the stubs lack it

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
    except (pg.DuplicatePreparedStatementError, pg.InvalidSQLStatementNameError) as error:
        raise errors.Lasting(TRANSACTION_POOLING) from error
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
