"""Users and messages for tests of storage and delivery, without the writer in between."""

import secrets
from dataclasses import dataclass

import asyncpg

from storage.postgres.connections.database import Database
from storage.postgres.conversations.members import Members
from storage.postgres.log.batches import STORE, Batch
from storage.records import Draft, Entry, MembershipAction, MembershipChange, Outcome, Role


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


async def change_members(database: Database, conversation_id: str, action: MembershipAction, *usernames: str) -> Entry:
    """Adds or removes users in ann's name; gives the entry that says so."""
    change = MembershipChange(action, usernames, Role.GONE if action == MembershipAction.REMOVED else Role.MEMBER)
    last_seq = await database.fetchval("SELECT last_seq FROM conversations WHERE conversation_id = $1", conversation_id)
    result = await Members(database).change(
        conversation_id,
        "ann",
        request_id=str(last_seq),
        request_hash=b"",
        usernames=usernames,
        decide=lambda standing: [change],
    )
    return result.entries[0]
