"""Drafts, and locks held on purpose, for tests of the storing function and of the writer."""

import contextlib
import itertools
from collections.abc import AsyncIterator

from storage.postgres.connections.database import Connection, Database
from storage.postgres.conversations.conversations import Conversations
from storage.records import Draft, Stored
from tests.support.waiting import wait_for

_numbers = itertools.count()


def draft(conversation_id: str, sender: str, text: str = "hello", **fields: object) -> Draft:
    """A draft with a request id of its own, unless one is given; equal texts have equal hashes."""
    values: dict[str, object] = {
        "request_id": f"r{next(_numbers)}",
        "request_hash": b"hash of " + text.encode(errors="replace"),
        "size_bytes": 100,
    }
    return Draft(conversation_id=conversation_id, sender=sender, text=text, **(values | fields))


def seqs(answers: list[Stored]) -> list[int]:
    """The seqs of answers; 0 for those refused."""
    return [answer.seq for answer in answers]


async def add_group(database: Database, conversation_id: str, owner: str, *others: str) -> None:
    """Makes a group of users who exist."""
    await Conversations(database).create_group(
        conversation_id, owner, others=list(others), title="", history_visible=True, request_id=None, request_hash=None
    )


@contextlib.asynccontextmanager
async def locked(database: Database, conversation_id: str) -> AsyncIterator[Connection]:
    """Holds a conversation's lock in a transaction; what is done with the connection is committed at the end."""
    connection = await database.connect()
    try:
        async with connection.transaction():
            await connection.execute(
                "SELECT 1 FROM conversations WHERE conversation_id = $1 FOR NO KEY UPDATE", conversation_id
            )
            yield connection
    finally:
        await connection.close()


async def wait_until_blocked(database: Database, count: int = 1) -> list[int]:
    """Waits until so many statements of this test's schema wait for a lock; gives their backends' ids."""

    async def blocked() -> list[int] | None:
        rows = await database.fetch(
            """SELECT a.pid FROM pg_stat_activity a
               WHERE a.wait_event_type = 'Lock' AND a.query LIKE '%append_entries%' AND a.pid <> pg_backend_pid()"""
        )
        return [row["pid"] for row in rows] if len(rows) >= count else None

    found = await wait_for(blocked, what=f"{count} waiting for a lock")
    assert found is not None
    return found


async def log_of(database: Database, conversation_id: str) -> list[tuple[int, str]]:
    """All (seq, text) of a conversation, in order."""
    rows = await database.fetch(
        "SELECT seq, text FROM messages WHERE conversation_id = $1 ORDER BY seq", conversation_id
    )
    return [(row["seq"], row["text"]) for row in rows]
