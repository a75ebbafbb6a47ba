"""Reads all that is stored about one user, as it was at one moment: one read-only REPEATABLE READ transaction.

Each kind of record is a query that PostgreSQL streams, so memory stays small however much there is. What others wrote
is in none of them: a membership has no title, a message has the seq that it answers and not its text. Hashes of
passwords and tokens are left out, too.
"""

from collections.abc import AsyncIterator
from typing import Any

from storage.postgres.connections.database import Database

_PREFETCH_ROWS = 200

_ACCOUNT = """SELECT username, display_name, avatar_uri, password_hash IS NOT NULL AS has_password, create_time,
                     disable_time, delete_time FROM users WHERE username = $1"""

# By type, in the order of the export; $1 is the user's name.
_RECORDS = {
    "account": _ACCOUNT,
    "login": """SELECT login_id, device_id, create_time, exchange_time AS refresh_time, expire_time, end_time
                FROM logins WHERE username = $1 AND end_time IS NULL
                UNION ALL
                SELECT login_id, device_id, create_time, exchange_time, expire_time, end_time
                FROM logins WHERE username = $1 AND end_time IS NOT NULL ORDER BY create_time""",
    "device": "SELECT device_id, create_time, last_use_time FROM devices WHERE username = $1 ORDER BY device_id",
    # What devices acknowledged is what receipts tell the others.
    "membership": """SELECT m.conversation_id, c.kind = 1 AS is_direct, m.role, m.join_time, m.read_seq,
                            (SELECT max(k.acked_seq) FROM cursors k
                             WHERE k.conversation_id = m.conversation_id AND k.username = m.username) AS delivered_seq
                     FROM members m JOIN conversations c USING (conversation_id)
                     WHERE m.username = $1 ORDER BY m.conversation_id""",
    "position": """SELECT device_id, conversation_id, acked_seq FROM cursors
                   WHERE username = $1 ORDER BY device_id, conversation_id""",
    "unsettled": """SELECT device_id, conversation_id, seq, attempts, first_time, last_time, last_reason
                    FROM deliveries WHERE username = $1 ORDER BY device_id, conversation_id, seq""",
    "dead_letter": """SELECT dead_letter_id, device_id, conversation_id, seq, attempts, last_reason, create_time
                      FROM dead_letters WHERE username = $1 ORDER BY dead_letter_id""",
    # The key (conversation, sender, request) finds them; former memberships are in `members`, too.
    "message": """SELECT e.conversation_id, e.seq, e.create_time, e.request_id, e.reply_to_seq, e.text,
                         encode(e.data, 'base64') AS data, e.content_type, e.extras
                  FROM members m CROSS JOIN LATERAL (
                      SELECT * FROM messages e
                      WHERE e.conversation_id = m.conversation_id AND e.sender = $1 AND e.kind = 1
                      ORDER BY e.seq OFFSET 0
                  ) e
                  WHERE m.username = $1 ORDER BY m.conversation_id, e.seq""",
    "membership_change": """SELECT e.conversation_id, e.seq, e.create_time, e.extras -> 'membership' AS change
                            FROM members m CROSS JOIN LATERAL (
                                SELECT * FROM messages e
                                WHERE e.conversation_id = m.conversation_id AND e.sender = $1 AND e.kind = 2
                                ORDER BY e.seq OFFSET 0
                            ) e
                            WHERE m.username = $1 ORDER BY m.conversation_id, e.seq""",
}


async def iter_account(database: Database, username: str) -> AsyncIterator[dict[str, Any]]:
    """Streams the records of a user, each with its `type`; none when there never was such an account.

    Raises:
        Unavailable: the database is.
    """
    async with database.acquire() as connection:
        await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        try:
            for kind, sql in _RECORDS.items():
                async for row in connection.cursor(sql, username, prefetch=_PREFETCH_ROWS):
                    yield {"type": kind, **dict(row)}
        finally:
            if connection.is_in_transaction():
                await connection.execute("ROLLBACK")
