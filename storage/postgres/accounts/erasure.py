"""What deleted accounts left behind goes: devices, positions, deliveries, dead letters, and the content of messages.

A batch is one short transaction that looks at 1,000 rows or 500 messages at most, holds the lock of the account's row
in `erasures`, and notes there how far it came. So batches of several workers and of a command take turns, a kill costs
one batch, and nothing is done twice. Messages keep their seqs, senders and times; others see an empty message.
Memberships of groups are not here, since leaving them makes entries (`ConversationService.leave_all`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from storage.postgres.connections.database import Connection, Database

_BATCH_ROWS = 1000
_BATCH_MESSAGES = 500
_BATCH_CONVERSATIONS = 50
# Who did not do another batch for so long has left the account to others.
_TURN_SECONDS = 10.0
# What an empty message takes in a frame: ids, times, tags.
_EMPTY_BYTES = 200

_LEFTOVERS = {
    "deliveries": ("username", "device_id", "conversation_id", "seq"),
    "dead_letters": ("dead_letter_id",),
    "cursors": ("username", "device_id", "conversation_id"),
    "devices": ("username", "device_id"),
}

# Streams of the account can live for some seconds more, on workers that have not heard of its end. Who can only read
# stores nothing behind the batch that empties the conversation; of groups the account is out already. The lock is the
# one that those who store messages hold, so what they are just storing comes before.
_SILENCE = """
WITH place AS (
    SELECT c.conversation_id FROM conversations c JOIN members m ON m.conversation_id = c.conversation_id
    WHERE c.conversation_id = $1 AND c.kind = 1 AND m.username = $2 AND m.role > 1
    FOR NO KEY UPDATE OF c
)
UPDATE members m SET role = 1 FROM place p WHERE m.conversation_id = p.conversation_id AND m.username = $2"""

_CHOOSE = """
SELECT seq, request_id FROM messages
WHERE conversation_id = $1 AND sender = $2 AND request_id > $3 ORDER BY request_id LIMIT $4"""

# kind 1: messages; what a membership entry says happened to others, too.
_EMPTY = """
UPDATE messages
SET text = '', data = NULL, content_type = NULL, extras = NULL, reply_to_seq = 0, request_hash = '',
    size_bytes = least(size_bytes, $3)
WHERE conversation_id = $1 AND seq = ANY ($2) AND kind = 1
  AND (text <> '' OR data IS NOT NULL OR content_type IS NOT NULL OR extras IS NOT NULL OR reply_to_seq <> 0)"""


class Progress(Enum):
    """What a batch did."""

    NOTHING = "nothing"  # the account has no row: nothing is left, or it was never deleted
    BUSY = "busy"  # another one works on it now
    MORE = "more"  # this batch is done, and there may be more
    DONE = "done"  # nothing is left


@dataclass(frozen=True, slots=True)
class Batch:
    """What a batch did, and how many messages of the account lost their content so far; 0 where it did nothing."""

    progress: Progress
    message_count: int = 0


class Erasures:
    """Deleted accounts of which something is left.

    Every method can raise Unavailable (of `storage.errors`).
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list_usernames(self, *, limit: int) -> list[str]:
        """Lists accounts of which something is left and that nobody works on, by name."""
        rows = await self._database.fetch(
            "SELECT username FROM erasures WHERE turn_time < clock_timestamp() - make_interval(secs => $2)"
            " ORDER BY username LIMIT $1",
            limit,
            _TURN_SECONDS,
        )
        return [row["username"] for row in rows]

    async def request_messages(self, username: str) -> None:
        """Has the messages of a deleted account lose their content, too; idempotent."""
        await self._database.execute(
            """INSERT INTO erasures AS e (username, has_messages)
               SELECT u.username, true FROM users u WHERE u.username = $1 AND u.delete_time IS NOT NULL
               ON CONFLICT (username) DO UPDATE
               SET has_messages = true, conversation_id = '', request_id = '', turn_time = clock_timestamp()
               WHERE NOT e.has_messages""",
            username,
        )

    async def run_batch(self, username: str) -> Batch:
        """Does one batch of an account; one transaction."""
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(
                "SELECT has_messages, conversation_id, request_id, message_count FROM erasures"
                " WHERE username = $1 FOR UPDATE SKIP LOCKED",
                username,
            )
            if row is None:
                is_there = await connection.fetchval("SELECT true FROM erasures WHERE username = $1", username)
                return Batch(Progress.BUSY if is_there else Progress.NOTHING)
            await connection.execute("UPDATE erasures SET turn_time = clock_timestamp() WHERE username = $1", username)
            for table, key in _LEFTOVERS.items():
                if await _delete_some(connection, table, key, username):
                    return Batch(Progress.MORE, row["message_count"])
            emptied, is_through = 0, True
            if row["has_messages"]:
                emptied, is_through = await _empty_some(connection, username, row["conversation_id"], row["request_id"])
            if is_through:
                await connection.execute("DELETE FROM erasures WHERE username = $1", username)
        return Batch(Progress.DONE if is_through else Progress.MORE, row["message_count"] + emptied)


async def _delete_some(connection: Connection, table: str, key: Sequence[str], username: str) -> bool:
    same = " AND ".join(f"t.{column} = s.{column}" for column in key)
    tag = await connection.execute(
        f"DELETE FROM {table} t USING (SELECT {', '.join(key)} FROM {table} WHERE username = $1 LIMIT $2) s"
        f" WHERE {same}",
        username,
        _BATCH_ROWS,
    )
    return tag != "DELETE 0"


async def _empty_some(connection: Connection, username: str, conversation_id: str, request_id: str) -> tuple[int, bool]:
    """Empties messages from a position on and notes the next one; gives how many, and whether none is left."""
    left = _BATCH_MESSAGES
    emptied = 0
    changed: list[tuple[str, int]] = []
    for _ in range(_BATCH_CONVERSATIONS):
        rows = await connection.fetch(_CHOOSE, conversation_id, username, request_id, left) if conversation_id else []
        if rows:
            seqs = [row["seq"] for row in rows]
            tag = await connection.execute(_EMPTY, conversation_id, seqs, _EMPTY_BYTES)
            if tag != "UPDATE 0":
                emptied += int(tag.split()[1])
                changed += [(conversation_id, seq) for seq in seqs]
            request_id = rows[-1]["request_id"]
            left -= len(rows)
        if left <= 0:
            break
        following = await connection.fetchval(
            "SELECT conversation_id FROM members WHERE username = $1 AND conversation_id > $2"
            " ORDER BY conversation_id LIMIT 1",
            username,
            conversation_id,
        )
        if following is None:
            conversation_id = ""
            break
        conversation_id, request_id = following, ""
        await connection.execute(_SILENCE, conversation_id, username)
    await connection.execute(
        """INSERT INTO content_changes (conversation_id, seqs)
           SELECT c.conversation_id, array_agg(c.seq)
           FROM unnest($1::text[], $2::bigint[]) AS c(conversation_id, seq) GROUP BY c.conversation_id""",
        [conversation_id for conversation_id, _ in changed],
        [seq for _, seq in changed],
    )
    await connection.execute(
        "UPDATE erasures SET conversation_id = $2, request_id = $3, message_count = message_count + $4"
        " WHERE username = $1",
        username,
        conversation_id,
        request_id,
        emptied,
    )
    return emptied, not conversation_id
