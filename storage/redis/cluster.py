"""Calls of scripts on a Redis Cluster: which node has a slot, and what a node says that has it no more.

redis-py's own client sends ASKING over one connection and the command over whichever is free then, so in the middle of
a resharding a slot is not found; hence the few answers of a cluster are followed here.
"""

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from redis.asyncio import BlockingConnectionPool
from redis.crc import key_slot
from redis.exceptions import (
    AskError,
    ClusterDownError,
    MovedError,
    RedisError,
    ResponseError,
    TryAgainError,
)

from storage.redis.calls import Call, exchange
from storage.redis.connections import make_pool
from storage.redis.urls import RedisAddress

Node = tuple[str, int]
# Between two tries while a slot is moved, or is without a node.
_PAUSE_SECONDS = 0.05


class Cluster:
    """The nodes of a cluster.

    Args:
        address: names some of them; where all are gone that were known later, these are asked again.
    """

    def __init__(self, address: RedisAddress) -> None:
        self._address = address
        self._pools: dict[Node, BlockingConnectionPool] = {}
        self._slots: list[tuple[int, int, Node]] = []  # (first, last, its primary)
        self._is_stale = True
        self._lock = asyncio.Lock()

    async def nodes(self) -> list[Node]:
        """Lists the primaries, in any order; of an unreadable cluster those that the URL names.

        Raises:
            RedisError, OSError: no node answers.
        """
        self._is_stale = True
        await self._read_slots()
        nodes = list({node for _, _, node in self._slots})
        random.shuffle(nodes)
        return nodes or list(self._address.nodes)

    def pool(self, node: Node) -> BlockingConnectionPool:
        """The pool of a node."""
        if node not in self._pools:
            self._pools[node] = make_pool(self._address, node)
        return self._pools[node]

    async def run(self, calls: Sequence[Call]) -> list[Any]:
        """Makes calls with keys of one slot, in order; follows the slot until the caller gives up.

        Raises:
            RedisError, OSError: a node refuses, or does not answer.
        """
        slot = key_slot(calls[0].keys[0].encode())
        if self._is_stale:
            await self._read_slots()
        return [await self._follow(slot, call) for call in calls]

    async def close(self) -> None:
        """Closes all connections."""
        for pool in self._pools.values():
            await pool.aclose()

    async def drop_idle(self) -> None:
        """Closes the connections that nobody uses, and has the map read again."""
        self._is_stale = True
        for pool in self._pools.values():
            await pool.disconnect(inuse_connections=False)

    async def _follow(self, slot: int, call: Call) -> Any:
        node, is_asking = self._node_of(slot), False
        while True:
            try:
                return await self._call_at(node, call, is_asking=is_asking)
            except MovedError as error:
                self._is_stale = True
                node, is_asking = (error.host or node[0], error.port), False
                self._slots.insert(0, (slot, slot, node))
            except AskError as error:
                node, is_asking = (error.host or node[0], error.port), True
            except TryAgainError:  # some keys of the slot are here and some there
                await asyncio.sleep(_PAUSE_SECONDS)
                node, is_asking = self._node_of(slot), False
            except ClusterDownError:
                await asyncio.sleep(_PAUSE_SECONDS)
                self._is_stale = True
                await self._read_slots()
                node, is_asking = self._node_of(slot), False

    async def _call_at(self, node: Node, call: Call, *, is_asking: bool) -> Any:
        pool = self.pool(node)
        try:
            connection = await pool.get_connection()  # type: ignore[no-untyped-call] # as redis-py has it
            try:
                (answer,) = await exchange(connection, [call], is_asking=is_asking)
            finally:
                await pool.release(connection)
        except ResponseError:
            raise
        except BaseException:
            self._is_stale = True  # it may be dead, and another node have its slots
            with suppress(RedisError, OSError):
                await pool.disconnect(inuse_connections=False)
            raise
        if isinstance(answer, ResponseError):
            raise answer
        return answer

    def _node_of(self, slot: int) -> Node:
        for first, last, node in self._slots:
            if first <= slot <= last:
                return node
        raise ClusterDownError(f"CLUSTERDOWN no node has the slot {slot}")

    async def _read_slots(self) -> None:
        """Reads which node has which slots, from the first node that answers; all are asked at once."""
        async with self._lock:
            if not self._is_stale:
                return
            known = dict.fromkeys([*self._address.nodes, *(node for _, _, node in self._slots)])
            asked = [asyncio.create_task(self._ask(node)) for node in known]
            try:
                failure: Exception | None = None
                for answer in asyncio.as_completed(asked):
                    try:
                        self._slots = await answer
                        self._is_stale = False
                        return
                    except (RedisError, OSError) as error:
                        failure = error
                assert failure is not None
                raise failure
            finally:
                for task in asked:
                    task.cancel()
                await asyncio.gather(*asked, return_exceptions=True)

    async def _ask(self, node: Node) -> list[tuple[int, int, Node]]:
        pool = self.pool(node)
        connection = await pool.get_connection()  # type: ignore[no-untyped-call] # as redis-py has it
        try:
            await connection.send_command("CLUSTER", "SLOTS", check_health=False)
            rows = await connection.read_response()
        finally:
            await pool.release(connection)
        slots = []
        for first, last, primary, *_ in rows:
            host = b"" if primary[0] is None else primary[0]
            name = host.decode(errors="replace")
            slots.append((int(first), int(last), (name if name not in {"", "?"} else node[0], int(primary[1]))))
        if not slots:
            raise ClusterDownError("CLUSTERDOWN no slot has a node")
        return slots
