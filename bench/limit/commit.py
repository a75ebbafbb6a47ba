"""How many rows of messages PostgreSQL commits, from a loop that only inserts: no locks, no look-ups, no checks.

The table, its indexes and the sizes are those of a message with a text of 100 bytes.
"""

import asyncio
import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import asyncpg

from bench.processes import tree_cpu_seconds

BATCHES = (20, 160, 1000)
CONNECTIONS = (1, 2, 4)

_CONVERSATIONS_EACH = 8
_TEXT = "x" * 100
_SIZE_BYTES = 250
_HASH = b"h" * 16
_INSERT = """
INSERT INTO messages (conversation_id, seq, kind, sender, request_id, request_hash, create_time, message_number,
                      size_bytes, reply_to_seq, text, data, content_type, extras)
SELECT conversation_id, seq, 1, sender, request_id, request_hash, create_time, seq, size_bytes, 0, text,
       NULL, NULL, NULL
FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::bytea[], $6::timestamptz[], $7::integer[], $8::text[])
     AS one(conversation_id, seq, sender, request_id, request_hash, create_time, size_bytes, text)"""


async def measure_commit(url: str, schema: str, postmaster_pid: int, seconds: float) -> dict[str, float]:
    """Tries each batch over each number of connections for a while, then the best of all for as long as is said.

    Returns:
        "group_commit_per_second" in rows, at "group_commit_batch" rows a commit over "group_commit_connections", with
        "group_commit_postgresql_us" of processor time a row; and the best of each batch, "group_commit_20_per_second"
        and so on.

    Raises:
        asyncpg.PostgresError: it fails, as when the disk is full.
        OSError: it hangs up.
    """
    inserters = [_Inserter(f"limit-{nth}") for nth in range(max(CONNECTIONS))]
    found: dict[str, float] = {}
    try:
        for inserter in inserters:
            await inserter.open(url, schema)
        rates: dict[tuple[int, int], float] = {}
        for batch in BATCHES:
            for count in CONNECTIONS:
                rates[batch, count] = await _insert(inserters[:count], batch, seconds / 4)
            found[f"group_commit_{batch}_per_second"] = max(rates[batch, count] for count in CONNECTIONS)
        batch, count = max(rates, key=rates.__getitem__)
        cpu, rows = tree_cpu_seconds(postmaster_pid), sum(each.row_count for each in inserters)
        again = await _insert(inserters[:count], batch, seconds)
        cpu, rows = tree_cpu_seconds(postmaster_pid) - cpu, sum(each.row_count for each in inserters) - rows
    finally:
        for inserter in inserters:
            inserter.close()
    # Whatever was reached once is no more than the limit, though the machine was slower the second time.
    best = found["group_commit_per_second"] = max(again, rates[batch, count])
    found[f"group_commit_{batch}_per_second"] = best
    used = {
        "group_commit_batch": batch,
        "group_commit_connections": count,
        "group_commit_postgresql_us": 1e6 * cpu / rows,
    }
    return found | used


async def _insert(inserters: "Sequence[_Inserter]", batch: int, seconds: float) -> float:
    """Returns how many rows a second all of them committed."""
    before = sum(each.row_count for each in inserters)
    begin = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for inserter in inserters:
            group.create_task(inserter.run(batch, begin + seconds))
    return (sum(each.row_count for each in inserters) - before) / (time.perf_counter() - begin)


class _Inserter:
    """A connection that stores batches into conversations of its own."""

    def __init__(self, name: str) -> None:
        self.row_count = 0
        self._name = name
        self._seq = 0
        self._connection: asyncpg.Connection | None = None

    async def open(self, url: str, schema: str) -> None:
        """Connects."""
        self._connection = await asyncpg.connect(url, server_settings={"search_path": schema})

    def close(self) -> None:
        """Hangs up."""
        if self._connection is not None:
            self._connection.terminate()

    async def run(self, batch: int, until: float) -> None:
        """Stores one batch after another up to a time of the performance counter."""
        assert self._connection is not None
        statement = await self._connection.prepare(_INSERT)
        while time.perf_counter() < until:
            await statement.fetch(*self._make_columns(batch))
            self.row_count += batch

    def _make_columns(self, batch: int) -> tuple[list[object], ...]:
        numbers = range(self._seq, self._seq + batch)
        self._seq += batch
        now = datetime.now(UTC)
        return (
            [f"{self._name}-{number % _CONVERSATIONS_EACH}" for number in numbers],
            [number // _CONVERSATIONS_EACH + 1 for number in numbers],
            [self._name] * batch,
            [os.urandom(16).hex() for _ in numbers],
            [_HASH] * batch,
            [now] * batch,
            [_SIZE_BYTES] * batch,
            [_TEXT] * batch,
        )
