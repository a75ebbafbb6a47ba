"""Finds the server to use: a primary that is not behind one that was seen before.

After a failover the old primary may come back, as if nothing had happened, on the timeline of before; what it would
store is lost. So a server counts only when its timeline is not below the highest that was seen of that cluster: by this
worker, and by the others as far as they could tell (`storage/redis/timelines.py`). And after each loss, as at the
start, all hosts are asked at the same time, each for about a second, and the primary on the highest timeline is taken,
of several the one that was used last, else the first of the URL; until the next loss it is asked first, and the others
only when it does not answer.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import asyncpg

from storage import errors
from storage.postgres.connection import Connection
from storage.postgres.hosts import Host, parse_hosts

_HOST_SECONDS = 1.0
# With no other host to go to, a little more patience.
_ONLY_HOST_SECONDS = 2.0

# The name of the current WAL file begins with the timeline. pg_control_checkpoint() still has the former one for a
# moment after a promotion, until the first checkpoint.
_LOOK = """
SELECT pg_is_in_recovery() AS is_standby, current_setting('transaction_read_only') AS is_read_only,
       (SELECT system_identifier FROM pg_control_system()) AS cluster_id,
       CASE WHEN NOT pg_is_in_recovery() THEN left(pg_walfile_name(pg_current_wal_lsn()), 8) END AS timeline"""


class NotPrimary(errors.Unavailable):
    """The server answers and is not to be used."""


class Primary:
    """The way to the primary.

    Args:
        url: of one host or several.
        on_newer: called when a timeline turns out to be higher than all before: other connections may be to a former
            primary.

    Attributes:
        timelines: by cluster (PostgreSQL's system identifier), the highest timeline seen.

    Raises:
        ValueError: the URL can't be read.
    """

    def __init__(self, url: str, *, on_newer: Callable[[], None] = lambda: None) -> None:
        self._url = url
        self._on_newer = on_newer
        self._hosts: list[Host | None] = [*parse_hosts(url)] or [None]
        self._is_sure = len(self._hosts) == 1
        self.timelines: dict[int, int] = {}

    def doubt(self) -> None:
        """Takes word of a loss: another server may be the primary now, also if the last one answers again."""
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
            Unavailable: (as NotPrimary) no host is a primary that may be used.
            asyncpg.PostgresError, OSError: of the only host; of several, Unavailable tells of each.
        """
        failures: list[tuple[Host | None, Exception]] = []
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
        if len(failures) == 1:
            raise failures[0][1]
        told = "; ".join(f"{host} {type(error).__name__}: {error}" for host, error in failures)
        raise errors.Unavailable(f"no primary: {told}")

    def _choose(self, host: Host | None, connection: Connection) -> Connection:
        self._hosts.remove(host)
        self._hosts.insert(0, host)
        return connection

    async def _ask_all(
        self, options: dict[str, Any], failures: list[tuple[Host | None, Exception]]
    ) -> list[tuple[int, Connection, Host | None]]:
        """Gives (timeline, connection, host) of each primary that may be used."""
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
        self, host: Host | None, options: dict[str, Any], failures: list[tuple[Host | None, Exception]]
    ) -> tuple[int, Connection] | None:
        """Gives (timeline, connection) when the host is a primary that may be used; else notes why it is not."""
        limit_seconds = _ONLY_HOST_SECONDS if len(self._hosts) == 1 else _HOST_SECONDS
        try:
            async with asyncio.timeout(limit_seconds):
                return await self._connect_to(host, options)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, NotPrimary) as error:
            failures.append((host, error))
            return None

    def note_timeline(self, cluster_id: int, timeline: int) -> None:
        """Takes word of a timeline that a primary of the cluster was seen on."""
        known = self.timelines.get(cluster_id, 0)
        if timeline > known:
            self.timelines[cluster_id] = timeline
            if known:
                self._on_newer()

    async def _connect_to(self, host: Host | None, options: dict[str, Any]) -> tuple[int, Connection]:
        where: dict[str, Any] = {} if host is None else {"host": host.host, "port": host.port}
        connection: Connection = await asyncpg.connect(self._url, connection_class=Connection, **where, **options)
        try:
            return await self._check(connection), connection
        except BaseException:
            connection.terminate()
            raise

    async def _check(self, connection: Connection) -> int:
        """Gives the timeline of a primary that may be used.

        Raises:
            NotPrimary: it is none.
        """
        row = await connection.fetchrow(_LOOK)
        assert row is not None
        if row["is_standby"]:
            raise NotPrimary("it is a standby")
        if row["is_read_only"] == "on":
            raise NotPrimary("it is read-only")
        cluster_id, timeline = row["cluster_id"], int(row["timeline"], 16)
        known = self.timelines.get(cluster_id, 0)
        if timeline < known:
            raise NotPrimary(f"it is on timeline {timeline}, and {known} was seen: a former primary")
        self.note_timeline(cluster_id, timeline)
        return timeline
