"""What senders are told of their readers: up to where members have a conversation, and up to where they have read it.

A member has what any device of theirs acknowledged, and what they have read: 0 <= read <= delivered <= last seq.
"""

from collections.abc import Sequence

from storage.postgres.connections.database import Database
from storage.records import Receipt, ReceiptCount

# Conversations above this many members have counts instead of a receipt for each.
MAX_NAMED_MEMBERS = 200

_DELIVERED = """greatest(m.read_seq, (
    SELECT max(k.acked_seq) FROM cursors k
    WHERE k.conversation_id = m.conversation_id AND k.username = m.username
))"""


class Receipts:
    """Reads of receipts; they are made by acks and by read positions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self, pairs: Sequence[tuple[str, str]]) -> tuple[list[Receipt], list[str]]:
        """Reads the receipts of (conversation, member); one statement.

        Returns:
            The receipts, without those who are no members; and, once each, the conversations that have counts instead.
        """
        rows = await self._database.fetch(
            f"""SELECT q.conversation_id, c.member_count > $3 AS is_counted, m.username, m.read_seq,
                       least(CASE WHEN c.member_count <= $3 THEN {_DELIVERED} END, c.last_seq) AS delivered_seq
                FROM unnest($1::text[], $2::text[]) AS q(conversation_id, username)
                JOIN conversations c ON c.conversation_id = q.conversation_id AND c.delete_time IS NULL
                JOIN members m ON m.conversation_id = q.conversation_id AND m.username = q.username AND m.role > 0""",
            [conversation_id for conversation_id, _ in pairs],
            [username for _, username in pairs],
            MAX_NAMED_MEMBERS,
        )
        named = [
            Receipt(row["conversation_id"], row["username"], row["delivered_seq"], row["read_seq"])
            for row in rows
            if not row["is_counted"]
        ]
        return named, sorted({row["conversation_id"] for row in rows if row["is_counted"]})

    async def list_for(self, username: str, *, max_conversations: int, limit: int) -> list[Receipt]:
        """Lists the receipts of a user's conversations with the newest activity; one statement.

        Args:
            max_conversations: how many of those that have a receipt for each member.
            limit: receipts at most.
        """
        rows = await self._database.fetch(
            f"""SELECT m.conversation_id, m.username, m.read_seq, least({_DELIVERED}, c.last_seq) AS delivered_seq
                FROM (
                    SELECT c.conversation_id, c.last_seq, c.last_time
                    FROM members me JOIN conversations c ON c.conversation_id = me.conversation_id
                    WHERE me.username = $1 AND me.role > 0 AND c.delete_time IS NULL AND c.member_count <= $2
                    ORDER BY c.last_time DESC LIMIT $3
                ) c
                JOIN members m ON m.conversation_id = c.conversation_id AND m.role > 0
                ORDER BY c.last_time DESC, m.conversation_id, m.username LIMIT $4""",
            username,
            MAX_NAMED_MEMBERS,
            max_conversations,
            limit,
        )
        return [Receipt(row["conversation_id"], row["username"], row["delivered_seq"], row["read_seq"]) for row in rows]

    async def list_counted(self, username: str, *, limit: int) -> list[str]:
        """Lists those of a user's conversations that have counts, the newest activity first; one statement."""
        rows = await self._database.fetch(
            """SELECT c.conversation_id FROM members me JOIN conversations c ON c.conversation_id = me.conversation_id
               WHERE me.username = $1 AND me.role > 0 AND c.delete_time IS NULL AND c.member_count > $2
               ORDER BY c.last_time DESC LIMIT $3""",
            username,
            MAX_NAMED_MEMBERS,
            limit,
        )
        return [row["conversation_id"] for row in rows]

    async def count(self, conversation_ids: Sequence[str]) -> list[ReceiptCount]:
        """Counts who has, and who has read, each conversation up to its end; one statement, O(members)."""
        rows = await self._database.fetch(
            f"""SELECT c.conversation_id, c.last_seq,
                       count(*) FILTER (WHERE {_DELIVERED} >= c.last_seq) AS delivered_count,
                       count(*) FILTER (WHERE m.read_seq >= c.last_seq) AS read_count
                FROM conversations c JOIN members m ON m.conversation_id = c.conversation_id AND m.role > 0
                WHERE c.conversation_id = ANY ($1) AND c.delete_time IS NULL
                GROUP BY c.conversation_id, c.last_seq""",
            list(conversation_ids),
        )
        return [
            ReceiptCount(row["conversation_id"], row["last_seq"], row["delivered_count"], row["read_count"])
            for row in rows
        ]
