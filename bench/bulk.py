"""Puts messages into the private PostgreSQL of a server that was started for a run, without that server.

Leaves what as many sends would have left: the rows, in the order in which logs that grow side by side have them; both
indexes as they grow, not as they are built; counters, and an entry of the commit feed. Then what autovacuum does in
time is done at once, so that it does not show in the run.
"""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg
from parley.v1 import message_pb2

from bench.errors import BenchError
from bench.meter import now_us
from bench.report.words import in_bytes
from bench.texts import REQUEST_ID, Texts
from storage.embedded import EmbeddedPostgres

_CONNECTIONS = 2
# Beside the text: row and indexes take some 300 bytes, and the log of the database a gigabyte at most.
_ROW_BYTES = 350
_LOG_BYTES = 1 << 30
# PostgreSQL begins its log anew in files of 16 MiB; what it can't write in full it takes back.
_LEAST_FREE_BYTES = 32 << 20
_OVERHEAD_BYTES = 96  # of service/convert/drafts.py

_STORE = """
WITH places AS MATERIALIZED (
    SELECT p.*, c.last_seq, c.message_count
    FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::int[])
         AS p(conversation_id, sender, head, added, size_bytes)
    JOIN conversations c USING (conversation_id)
), stored AS (
    INSERT INTO messages (conversation_id, seq, kind, sender, request_id, request_hash, create_time, message_number,
                          size_bytes, text)
    SELECT p.conversation_id, p.last_seq + n, 1, p.sender, substr(said.text, 1, $9),
           substr(sha256(said.text::bytea), 1, 16), now(), p.message_count + n, p.size_bytes, said.text
    FROM generate_series(1, (SELECT max(added) FROM places)) AS n
    JOIN places p ON n <= p.added
    CROSS JOIN LATERAL (
        SELECT p.head || lpad((before + n)::text, 10, '0') || lpad(said_us::text, 16, '0')
               || paddings[1 + (before + n + said_us) % cardinality(paddings)] AS text
        FROM (VALUES ($6::bigint, $7::bigint, $8::text[])) AS given(before, said_us, paddings)
    ) said
    ORDER BY n
), raised AS (
    UPDATE conversations c
    SET last_seq = c.last_seq + p.added, message_count = c.message_count + p.added, last_time = now()
    FROM places p WHERE c.conversation_id = p.conversation_id
), owned AS (
    UPDATE members m SET own_unread = m.own_unread + p.added
    FROM places p WHERE m.conversation_id = p.conversation_id AND m.username = p.sender
)
INSERT INTO commit_feed (conversation_ids, last_seqs)
SELECT array_agg(p.conversation_id), array_agg(p.last_seq + p.added) FROM places p"""


@dataclass(frozen=True, slots=True)
class Past:
    """What is to be in a log: so many messages of one sender, whose texts begin with `head` and a number from 1 on."""

    conversation: str
    sender: str
    head: str
    count: int


@dataclass(frozen=True, slots=True)
class Bulk:
    """A private PostgreSQL that runs in a data directory.

    Attributes:
        url: as PostgreSQL's own programs take it.
        rows_a_statement: about how many are stored at once, by each connection.
    """

    data_dir: Path
    url: str
    rows_a_statement: int = 50_000

    def find_trouble(self) -> str:
        """What would end any run: a disk on which the database has no room to write; empty if there is nothing."""
        free = shutil.disk_usage(self.data_dir).free
        return f"the disk of {self.data_dir} is full" if free < _LEAST_FREE_BYTES else ""

    async def store(self, pasts: Sequence[Past], texts: Texts, note: Callable[[int], None]) -> None:
        """Stores messages.

        Args:
            note: called with how many more are there.

        Raises:
            BenchError: the disk has no room for them, or the database can't be written.
        """
        self._check_room(sum(past.count for past in pasts), texts.size_bytes)
        shares = [share for nth in range(_CONNECTIONS) if (share := pasts[nth::_CONNECTIONS])]
        try:
            async with asyncio.TaskGroup() as group:
                for share in shares:
                    group.create_task(self._store(share, texts, note))
            async with self.connected() as connection:
                await connection.execute("VACUUM (ANALYZE) messages")
                await connection.execute("CHECKPOINT")
        except* (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as errors:
            raise BenchError(f"the history could not be written: {errors.exceptions[0]}") from errors

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection on which the tables are found by their names."""
        connection = await asyncpg.connect(self.url)
        try:
            schema = await connection.fetchval("SELECT schemaname FROM pg_tables WHERE tablename = 'messages'")
            await connection.execute("SELECT set_config('search_path', $1, false)", schema)
            await connection.execute("SET work_mem = '64MB'")  # what one statement stores is sorted in it
            yield connection
        finally:
            connection.terminate()

    async def _store(self, pasts: Sequence[Past], texts: Texts, note: Callable[[int], None]) -> None:
        each = max(1, self.rows_a_statement // len(pasts))
        async with self.connected() as connection:
            for before in range(0, max(past.count for past in pasts), each):
                some = [past for past in pasts if past.count > before]
                added = [min(each, past.count - before) for past in some]
                await connection.execute(
                    _STORE,
                    [past.conversation for past in some],
                    [past.sender for past in some],
                    [past.head for past in some],
                    added,
                    [_size_of(past.conversation, texts) for past in some],
                    before,
                    now_us(),
                    texts.paddings,
                    REQUEST_ID.stop,
                )
                note(sum(added))

    def _check_room(self, count: int, size_bytes: int) -> None:
        """Says no to what the disk can't hold. Raises: BenchError."""
        needed = count * (size_bytes + _ROW_BYTES)
        needed += min(needed, _LOG_BYTES)
        free = shutil.disk_usage(self.data_dir).free
        if free < needed:
            raise BenchError(
                f"{count:,} messages take some {in_bytes(needed)}, and the disk of {self.data_dir} has "
                f"{in_bytes(free)} free: name a directory on another one with TMPDIR"
            )


def _size_of(conversation: str, texts: Texts) -> int:
    """What a server notes as the size of such a message."""
    request = message_pb2.SendRequest(
        conversation_id=conversation, text="-" * texts.size_bytes, request_id="-" * REQUEST_ID.stop
    )
    return request.ByteSize() + _OVERHEAD_BYTES


def find_bulk(data_dir: Path) -> Bulk | None:
    """The PostgreSQL that a server started in its data directory; None: its database is elsewhere."""
    postgres = EmbeddedPostgres(data_dir)
    return Bulk(data_dir, postgres.url) if postgres.socket_path.exists() else None
