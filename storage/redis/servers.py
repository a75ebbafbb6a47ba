"""The way to Redis or Valkey: one server, the primary that Sentinels name, or a cluster.

Gives connections that a caller holds, and makes calls of scripts over pooled ones. A server that turns out to be a
replica is left: connections are made anew, by name and by what Sentinel says then. A cluster is also known by its
answers, where the URL does not say so.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from typing import Any

from redis.asyncio import BlockingConnectionPool, Connection
from redis.exceptions import (
    AskError,
    ClusterCrossSlotError,
    ClusterDownError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from storage.redis.calls import Call, exchange
from storage.redis.cluster import Cluster, Node
from storage.redis.connections import SentinelPool, make_pool
from storage.redis.troubles import is_read_only
from storage.redis.urls import Kind, parse_redis_url

# Calls of several slots: for each slot what was answered, or the error that ended it.
Answers = list[list[Any] | Exception]
# So that a node that hangs costs its own slots, and not those of all: less than callers wait.
_GROUP_SECONDS = 1.5
_OF_A_CLUSTER = (AskError, ClusterDownError, ClusterCrossSlotError)


class Servers:
    """The servers of one URL.

    Args:
        url: see `storage/redis/urls.py`.

    Raises:
        UrlError: it can't be used.
    """

    def __init__(self, url: str) -> None:
        self._address = parse_redis_url(url)
        self._pool = make_pool(self._address)
        self._cluster = Cluster(self._address)
        self._is_cluster = self._address.kind is Kind.CLUSTER
        self._held_at: dict[bool, Node] = {}  # of a cluster, the node of who hears (True) and of who publishes

    def __str__(self) -> str:
        return str(self._address)

    async def connect(self, *, hears: bool) -> Connection:
        """Opens a connection that is the caller's own, to a server that takes writes, or to any node of a cluster.

        Args:
            hears: of a cluster, those who hear and those who publish are on different nodes, where there are several:
                so what comes back proves that the nodes hear each other.

        Raises:
            RedisError, OSError: there is none.
        """
        if not self._is_cluster:
            return await self._open(self._pool)
        nodes = await self._cluster.nodes()
        nodes.sort(key=lambda node: node == self._held_at.get(not hears))
        failure: Exception | None = None
        for node in nodes:
            self._held_at[hears] = node  # before it is open: the other connection may be on its way, too
            try:
                return await self._open(self._cluster.pool(node))
            except (RedisError, OSError) as error:
                failure = error
        assert failure is not None
        raise failure

    async def _open(self, pool: BlockingConnectionPool) -> Connection:
        """Opens a connection as those of the pool are, that is none of them."""
        connection: Connection = pool.make_connection()  # type: ignore[no-untyped-call] # as redis-py has it
        try:
            await connection.connect()  # type: ignore[no-untyped-call] # as redis-py has it
            await self.check_role(connection)
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        return connection

    async def check_role(self, connection: Connection) -> None:
        """Asks the server on a connection whether it takes writes; one that can't tell is taken as it is.

        Raises:
            ReadOnlyError: it is a replica. What is published there reaches its own listeners alone.
            RedisError, OSError: the connection is lost.
        """
        await connection.send_command("HELLO", check_health=False)
        try:
            answer = await connection.read_response()
        except ResponseError:
            return  # older than Redis 6, or a proxy
        said = dict(zip(islice(answer, 0, None, 2), islice(answer, 1, None, 2), strict=False))
        if said.get(b"mode") == b"cluster":
            self._is_cluster = True
        elif said.get(b"role") not in {b"master", None}:
            raise ReadOnlyError("READONLY the server is a replica")

    async def is_current(self, connection: Connection) -> bool:
        """Whether Sentinel still names the server of a connection; True where no Sentinel says otherwise.

        A primary that Sentinel has replaced, and that can't see this, goes on as if it were the primary.
        """
        if not isinstance(self._pool, SentinelPool) or self._is_cluster:
            return True
        try:
            named = await self._pool.get_master_address()  # type: ignore[no-untyped-call] # as redis-py has it
        except (RedisError, OSError):
            return True
        return bool(named == (connection.host, connection.port))

    async def run(self, groups: Sequence[Sequence[Call]]) -> Answers:
        """Makes calls of scripts; those of a group are made in order, and have keys of one slot.

        Raises:
            RedisError, OSError: nothing was answered; some calls may have been made.
        """
        if self._is_cluster:
            return await self._run_in_cluster(groups)
        answers = await self._run_at_one(groups)
        failed = [nth for nth, answer in enumerate(answers) if isinstance(answer, _OF_A_CLUSTER)]
        if failed:
            self._is_cluster = True
            again = await self._run_in_cluster([groups[nth] for nth in failed])
            for nth, answer in zip(failed, again, strict=True):
                answers[nth] = answer
        if any(isinstance(answer, Exception) and is_read_only(answer) for answer in answers):
            await self.drop_idle()
        return answers

    async def _run_at_one(self, groups: Sequence[Sequence[Call]]) -> Answers:
        """Makes all calls in one round trip."""
        try:
            connection = await self._pool.get_connection()  # type: ignore[no-untyped-call] # as redis-py has it
            try:
                flat = iter(await exchange(connection, [call for group in groups for call in group]))
            finally:
                await self._pool.release(connection)
        except (RedisError, OSError, asyncio.CancelledError):
            await self.drop_idle()  # they are likely to be as dead
            raise
        return [_outcome(list(islice(flat, len(group)))) for group in groups]

    async def _run_in_cluster(self, groups: Sequence[Sequence[Call]]) -> Answers:
        async def run(group: Sequence[Call]) -> list[Any] | Exception:
            try:
                async with asyncio.timeout(_GROUP_SECONDS):
                    return await self._cluster.run(group)
            except (RedisError, OSError) as error:
                return error

        return list(await asyncio.gather(*map(run, groups)))

    async def drop_idle(self) -> None:
        """Closes the connections that nobody uses: the next ones go where the name and Sentinel lead then."""
        with suppress(RedisError, OSError):
            await self._pool.disconnect(inuse_connections=False)
            await self._cluster.drop_idle()

    async def close(self) -> None:
        """Closes all connections but those that a caller holds."""
        await self._pool.aclose()
        await self._cluster.close()
        if isinstance(self._pool, SentinelPool):
            await self._pool.sentinel_manager.aclose()


def _outcome(answers: list[Any]) -> list[Any] | Exception:
    return next((answer for answer in answers if isinstance(answer, Exception)), answers)
