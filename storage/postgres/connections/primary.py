"""Finds the server to use: a primary that is not behind one that was seen before.

After a failover the old primary may come back, as if nothing had happened, on the timeline of before; what it would
store is lost. So a server counts only when its timeline is not below the highest that was seen of that cluster: by this
worker, and by the others as far as they could tell (`storage/redis/timelines.py`). And after each loss, as at the
start, all hosts are asked at the same time, each for about a second, and the primary on the highest timeline is taken,
of several the one that was used last, else the first of the URL; until the next loss it is asked first, and the others
only when it does not answer.
"""

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

import asyncpg
import structlog
from asyncpg import exceptions as pg
from asyncpg.connect_utils import SessionAttribute

from storage import errors
from storage.postgres.connections.capabilities import check_version
from storage.postgres.connections.connection import Connection
from storage.postgres.connections.faults import is_refusal_of_tls, to_unavailable
from storage.postgres.connections.keepalive import keep_alive
from storage.postgres.connections.session import session_settings
from storage.postgres.connections.target import to_target
from storage.postgres.connections.tls import make_contexts
from storage.urls import Host

_log = structlog.get_logger(__name__)

_HOST_SECONDS = 1.0
# With no other host to go to, a little more patience.
_ONLY_HOST_SECONDS = 2.0

# The name of the current WAL file begins with the timeline. pg_control_checkpoint() still has the former one for a
# moment after a promotion, until the first checkpoint.
_TIMELINE = """(SELECT system_identifier FROM pg_control_system()) AS cluster_id,
       CASE WHEN NOT pg_is_in_recovery() THEN left(pg_walfile_name(pg_current_wal_lsn()), 8) END AS timeline"""
_LOOK = """
SELECT pg_is_in_recovery() AS is_standby, current_setting('transaction_read_only') AS is_read_only,
       pg_backend_pid() AS pid, {timeline}"""
# Whoever set it for the database or the server wants no writes there: a switch to another server may be under way.
_READ_ONLY_SOURCE = "SELECT source FROM pg_settings WHERE name = 'default_transaction_read_only'"
_SOURCES_OF_ROLES = ("user", "database user", "global", "client")


class NotPrimary(errors.Unavailable):
    """The server answers and is not to be used."""


class Primary:
    """The way to the primary.

    Args:
        url: of one host or several.
        schema: the search path of the connections; None: the usual one.
        lock_timeout_ms: how long a statement waits for a lock; 0: without end.
        allows_weak_durability: as `session_settings` has it.
        on_newer: called when a timeline turns out to be higher than all before: other connections may be to a former
            primary.

    Attributes:
        target: what the URL says.
        timelines: by cluster (PostgreSQL's system identifier), the highest timeline seen.
        knows_timelines: whether the server tells them; else nothing guards against a former primary.

    Raises:
        UrlError: the URL can't be used.
    """

    def __init__(
        self,
        url: str,
        *,
        schema: str | None = None,
        lock_timeout_ms: int = 0,
        allows_weak_durability: bool = False,
        on_newer: Callable[[], None] = lambda: None,
    ) -> None:
        self.target = target = to_target(url)
        self._session = session_settings(
            settings=target.settings,
            schema=schema,
            lock_timeout_ms=lock_timeout_ms,
            allows_weak_durability=allows_weak_durability,
        )
        self._on_newer = on_newer
        self._hosts: list[Host | None] = [*target.hosts] or [None]
        self._is_sure = len(self._hosts) == 1
        self._contexts: tuple[ssl.SSLContext | bool, ...] | None = None
        usual_seconds = _ONLY_HOST_SECONDS if self._is_sure else _HOST_SECONDS
        self._limit_seconds = target.connect_seconds or usual_seconds
        self.timelines: dict[int, int] = {}
        self.knows_timelines = True

    def doubt(self) -> None:
        """Notes a lost connection: another server may be the primary now, also if the last one answers again."""
        self._is_sure = len(self._hosts) == 1

    async def look_around(self) -> None:
        """Asks all hosts, where there are several, whether one is on a newer timeline than the server in use."""
        if len(self._hosts) > 1:
            for found in await self._ask_all({}, []):
                found[1].terminate()

    async def connect(self, **options: Any) -> Connection:
        """Opens a connection to the primary.

        Args:
            options: as those of `asyncpg.connect`.

        Raises:
            Unavailable: no host is a primary that may be used; the text tells of each.
            Lasting: and waiting does not mend it at any of them.
        """
        failures: list[tuple[Host | None, errors.Unavailable]] = []
        if self._is_sure:
            for host in list(self._hosts):
                if (one := await self._ask(host, options, failures)) is not None:
                    return self._choose(host, one[1])
        else:
            found = await self._ask_all(options, failures)
            if found:
                # Of equals the first, which is the one that was used last.
                chosen = max(found, key=lambda one: one[0])
                for other in found:
                    if other is not chosen:
                        other[1].terminate()
                self._is_sure = True
                return self._choose(chosen[2], chosen[1])
        raise self._to_error(failures)

    def _to_error(self, failures: list[tuple[Host | None, errors.Unavailable]]) -> errors.Unavailable:
        if len(failures) == 1:
            error = failures[0][1]
            # Alone, a standby stays one until somebody promotes it.
            kind = errors.Lasting if isinstance(error, NotPrimary) else type(error)
            only = kind(str(error))
            only.__cause__ = error.__cause__
            return only
        is_lasting = all(isinstance(error, errors.Lasting) for _, error in failures)
        told = "; ".join(f"{host}: {error}" for host, error in failures)
        return (errors.Lasting if is_lasting else errors.Unavailable)(f"no primary: {told}")

    def _choose(self, host: Host | None, connection: Connection) -> Connection:
        self._hosts.remove(host)
        self._hosts.insert(0, host)
        return connection

    async def _ask_all(
        self, options: dict[str, Any], failures: list[tuple[Host | None, errors.Unavailable]]
    ) -> list[tuple[int, Connection, Host | None]]:
        """Yields (timeline, connection, host) of each primary that may be used."""
        hosts = list(self._hosts)
        asked = [asyncio.create_task(self._ask(host, options, failures)) for host in hosts]
        try:
            answers = await asyncio.gather(*asked)
        except BaseException:
            for one in asked:
                one.cancel()
            for answer in await asyncio.gather(*asked, return_exceptions=True):
                if isinstance(answer, tuple):
                    answer[1].terminate()
            raise
        return [(*answer, host) for host, answer in zip(hosts, answers, strict=True) if answer is not None]

    async def _ask(
        self, host: Host | None, options: dict[str, Any], failures: list[tuple[Host | None, errors.Unavailable]]
    ) -> tuple[int, Connection] | None:
        """Returns (timeline, connection) when the host is a primary that may be used; else notes why not."""
        try:
            async with asyncio.timeout(self._limit_seconds):
                return await self._connect_to(host, options)
        except (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError, errors.Unavailable) as error:
            self._contexts = None  # its files may be others by now
            told = to_unavailable(error, self.target, self._limit_seconds)
            if told is not error:
                told.__cause__ = error
            failures.append((host, told))
            return None

    def note_timeline(self, cluster_id: int, timeline: int) -> None:
        """Notes a timeline on which a primary of the cluster was seen."""
        known = self.timelines.get(cluster_id, 0)
        if timeline > known:
            self.timelines[cluster_id] = timeline
            if known:
                self._on_newer()

    async def _connect_to(self, host: Host | None, options: dict[str, Any]) -> tuple[int, Connection]:
        connection = await self._open(host, options)
        try:
            check_version(connection.get_server_version())
            await connection.execute(self._session)
            keep_alive(connection, self.target.keepalive)
            return await self._check(connection), connection
        except BaseException:
            connection.terminate()
            raise

    async def _open(self, host: Host | None, options: dict[str, Any]) -> Connection:
        """Connects by TLS, without it, or first the one and then the other, as `sslmode` has it."""
        target = self.target
        settings = {"application_name": target.application_name}
        if target.options:
            settings["options"] = target.options
        first: Exception | None = None
        for context in self._list_contexts(host):
            try:
                connection: Connection = await asyncpg.connect(
                    host=None if host is None else host.name,
                    port=None if host is None else host.port,
                    user=target.user,
                    password=target.password,
                    passfile=target.passfile,
                    database=target.database,
                    ssl=context,
                    direct_tls=target.tls.is_direct,
                    server_settings=settings,
                    # Which server may be used is found out below; None would be what PGTARGETSESSIONATTRS says.
                    target_session_attrs=SessionAttribute.any,
                    connection_class=Connection,
                    **target.driver,
                    **options,
                )
            except (ssl.SSLError, ConnectionError, pg.InvalidAuthorizationSpecificationError) as error:
                first = first or error
                if isinstance(error, pg.InvalidPasswordError) or not _tells_of_transport(error):
                    raise
            else:
                return connection
        assert first is not None
        raise first

    def _list_contexts(self, host: Host | None) -> tuple[ssl.SSLContext | bool, ...]:
        if host is not None and host.is_socket:
            return (False,)
        if self._contexts is None:
            self._contexts = make_contexts(self.target.tls)
        return self._contexts

    async def _check(self, connection: Connection) -> int:
        """Returns the timeline of a primary that may be used; 0 where the server does not report one.

        Raises:
            NotPrimary: it is none.
            Lasting: of several servers nobody can tell which is a former primary.
        """
        row = await self._look(connection)
        connection.is_pooled = row["pid"] != connection.get_server_pid()
        if row["is_standby"]:
            raise NotPrimary("it is a standby (in recovery)")
        if row["is_read_only"] == "on":
            await _allow_writes(connection)
        if row["timeline"] is None:
            return 0
        cluster_id, timeline = row["cluster_id"], int(row["timeline"], 16)
        known = self.timelines.get(cluster_id, 0)
        if timeline < known:
            raise NotPrimary(f"it is on timeline {timeline}, and {known} was seen: a former primary")
        self.note_timeline(cluster_id, timeline)
        return timeline

    async def _look(self, connection: Connection) -> asyncpg.Record:
        if self.knows_timelines:
            try:
                row = await connection.fetchrow(_LOOK.format(timeline=_TIMELINE))
                assert row is not None
                return row
            except (pg.InsufficientPrivilegeError, pg.FeatureNotSupportedError, pg.UndefinedFunctionError) as error:
                if len(self._hosts) > 1:
                    raise errors.Lasting(
                        f"{error}: with several hosts it is what tells a former primary;"
                        f' GRANT EXECUTE ON FUNCTION pg_control_system() TO "{self.target.user}"'
                    ) from None
                _log.warning(
                    "the server does not tell its timeline: nothing here would notice that a former primary came back",
                    error=str(error),
                )
                self.knows_timelines = False
        row = await connection.fetchrow(_LOOK.format(timeline="NULL AS cluster_id, NULL AS timeline"))
        assert row is not None
        return row


async def _allow_writes(connection: Connection) -> None:
    """Takes back a default of the role's that makes transactions read-only.

    Raises:
        NotPrimary: it is no default of the role's.
    """
    source = await connection.fetchval(_READ_ONLY_SOURCE)
    if source not in _SOURCES_OF_ROLES:
        raise NotPrimary(f"it is read-only: default_transaction_read_only is on (set by the {source})")
    await connection.execute("SET default_transaction_read_only = off")


def _tells_of_transport(error: Exception) -> bool:
    """Whether the server may take the connection with TLS where it did not without, or the other way round."""
    is_tls = isinstance(error, ssl.SSLError) or is_refusal_of_tls(error)
    return is_tls or isinstance(error, pg.InvalidAuthorizationSpecificationError)
