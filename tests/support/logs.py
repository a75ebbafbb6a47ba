"""Users and messages for tests of storage and delivery, without the writer in between."""

import secrets
from dataclasses import dataclass

import asyncpg

from storage.postgres.batches import STORE, Batch
from storage.postgres.database import Database
from storage.records import Draft, Outcome


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of a message."""

    outcome: Outcome
    seq: int | None


async def add_users(database: Database, *usernames: str) -> None:
    """Makes accounts that nobody can log in to."""
    await database.execute(
        "INSERT INTO users (username, issuer, subject) SELECT name, 'parley', name FROM unnest($1::text[]) AS name",
        list(usernames),
    )


async def delete_user(database: Database, username: str) -> None:
    """Leaves a tombstone."""
    await database.execute("UPDATE users SET delete_time = clock_timestamp() WHERE username = $1", username)


async def send(
    database: Database | asyncpg.Connection,
    conversation_id: str,
    sender: str,
    text: str = "hello",
    *,
    request_id: str | None = None,
    size_bytes: int = 100,
) -> Sent:
    """Stores one message by the function that the writer calls."""
    draft = Draft(
        conversation_id,
        sender,
        request_id or secrets.token_hex(8),
        b"hash of " + text[:20].encode(),
        size_bytes,
        text,
    )
    batch = Batch([draft])
    (answer,) = batch.to_answers(await database.fetch(STORE, *batch.arguments()))
    return Sent(answer.outcome, answer.seq or None)
