"""Conversations: making, reading as a member sees them, changing what is not membership.

Who is in and who becomes so is in `members.py`, the log in `messages.py`. Order of locks: conversation, members, users.
"""

from collections.abc import Callable, Sequence
from datetime import datetime

import asyncpg

from storage.errors import Absent, UserAbsent
from storage.postgres.connections.database import Database
from storage.postgres.connections.lock_waits import retry_while_locked
from storage.postgres.conversations.membership_changes import (
    lock_conversation,
    raise_membership_versions,
    read_standing,
)
from storage.postgres.log.live_conversations import JOIN_LIVE_CONVERSATIONS
from storage.postgres.log.messages import ENTRY_COLUMNS, PAGE_BYTES, to_entry
from storage.records import Conversation, ConversationKind, Creation, MembershipView, Outcome, Role

# What a conversation takes in a page besides its last entry: id, title, numbers and times.
_CONVERSATION_BYTES = 512

# Columns that an entry has too are named otherwise here, since the last entry comes in the same row.
_COLUMNS = (
    "c.conversation_id AS id, c.kind AS conversation_kind, c.title, c.history_visible, c.create_time AS creation_time,"
    " c.last_time, c.first_seq, c.last_seq, c.member_count, m.role, m.read_seq,"
    " c.message_count - m.read_count - m.own_unread AS unread_count"
)

# The newest entry that the member may see. It is the last one or, after hiding, there is none, so this reads one row.
_LAST_ENTRY = f"""LEFT JOIN LATERAL (
    SELECT {ENTRY_COLUMNS} FROM messages e
    WHERE e.conversation_id = c.conversation_id AND e.kind IN (1, 2)
      AND e.seq BETWEEN lower(m.visible) AND c.last_seq AND m.visible @> e.seq
    ORDER BY e.seq DESC LIMIT 1
) e ON true"""

_GET = f"""
SELECT {_COLUMNS}, e.*
FROM members m JOIN conversations c USING (conversation_id) {_LAST_ENTRY}
WHERE m.conversation_id = $1 AND m.username = $2 AND m.role > 0 AND c.delete_time IS NULL"""

_LIST = f"""
WITH mine AS (
    SELECT c.conversation_id, c.last_time
    FROM members m {JOIN_LIVE_CONVERSATIONS}
    WHERE m.username = $1 AND m.role > 0
      AND (c.kind = 2 OR m.visible @> c.last_seq)
      AND ($2::timestamptz IS NULL OR c.last_time < $2 OR (c.last_time = $2 AND c.conversation_id > $3))
    ORDER BY c.last_time DESC, c.conversation_id LIMIT $4 + 1
), page AS (
    SELECT {_COLUMNS}, e.*,
           row_number() OVER newest AS nth,
           count(*) OVER () AS found_count,
           sum(coalesce(e.size_bytes, 0) + {_CONVERSATION_BYTES}) OVER newest - coalesce(e.size_bytes, 0)
               AS bytes_before
    FROM mine
    JOIN members m ON m.conversation_id = mine.conversation_id AND m.username = $1
    JOIN conversations c ON c.conversation_id = mine.conversation_id
    {_LAST_ENTRY}
    WINDOW newest AS (ORDER BY c.last_time DESC, c.conversation_id)
)
SELECT * FROM page WHERE nth <= $4 AND bytes_before < {PAGE_BYTES} ORDER BY nth"""

_HIDE = """
UPDATE members m
SET visible = int8multirange(int8range(c.last_seq + 1, NULL)), start_seq = c.last_seq, read_seq = c.last_seq,
    read_count = c.message_count, own_unread = 0
FROM conversations c
WHERE c.conversation_id = $1 AND m.conversation_id = $1 AND m.username = $2 AND m.role > 0
RETURNING true"""


class Conversations:
    """Reads and writes conversations.

    Every method can raise Unavailable (of `storage.errors`) besides what it says; a write raises it, as LockTimeout,
    when the conversation stays locked for three seconds.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create_group(
        self,
        conversation_id: str,
        creator: str,
        *,
        others: Sequence[str],
        title: str,
        history_visible: bool,
        request_id: str | None,
        request_hash: bytes | None,
    ) -> Creation:
        """Makes a group: the creator its OWNER, the others MEMBERs; no entry of the log.

        Args:
            conversation_id: what nobody has yet, without a colon.
            others: user names, each once, without the creator.
            request_id: None: no repeat is looked for.

        Raises:
            UserAbsent: one of them does not exist; nothing is made.
        """

        async def write() -> Creation:
            async with self._database.transaction() as connection:
                create_time = await connection.fetchval(
                    """INSERT INTO conversations (conversation_id, kind, title, history_visible, creator,
                                                  creation_request, creation_hash, member_count)
                       VALUES ($1, 2, $2, $3, $4, $5, $6, $7)
                       ON CONFLICT (creator, creation_request) WHERE creation_request IS NOT NULL DO NOTHING
                       RETURNING create_time""",
                    conversation_id,
                    title,
                    history_visible,
                    creator,
                    request_id,
                    request_hash,
                    len(others) + 1,
                )
                if create_time is None:
                    # The lock makes this transaction's commit wait for the standby, as the first one's did.
                    first = await connection.fetchrow(
                        """SELECT conversation_id, creation_hash FROM conversations
                           WHERE creator = $1 AND creation_request = $2 FOR KEY SHARE""",
                        creator,
                        request_id,
                    )
                    assert first is not None  # rows of conversations stay for ever
                    is_same = first["creation_hash"] == request_hash
                    return Creation(Outcome.DUPLICATE if is_same else Outcome.REUSED, first["conversation_id"])
                members = sorted({creator, *others})
                roles = [Role.OWNER if username == creator else Role.MEMBER for username in members]
                await connection.execute(_INSERT_MEMBERS, conversation_id, members, roles, create_time)
                await raise_membership_versions(connection, set(members), must_exist=True)
            return Creation(Outcome.STORED, conversation_id)

        return await retry_while_locked(write)

    async def ensure_direct(self, conversation_id: str) -> str | None:
        """Makes a direct conversation where there is none yet; of any number of calls at once one makes it.

        Args:
            conversation_id: two user names, sorted, with a colon between; twice the same for notes to oneself.

        Returns:
            None when it is there now; else the first of its users who does not exist, or not any more.
        """
        members = sorted(set(conversation_id.split(":")))

        async def write() -> None:
            async with self._database.transaction() as connection:
                create_time = await connection.fetchval(
                    """INSERT INTO conversations (conversation_id, kind, creator, member_count) VALUES ($1, 1, '', $2)
                       ON CONFLICT (conversation_id) DO NOTHING RETURNING create_time""",
                    conversation_id,
                    len(members),
                )
                if create_time is not None:
                    roles = [Role.MEMBER] * len(members)
                    await connection.execute(_INSERT_MEMBERS, conversation_id, members, roles, create_time)
                    await raise_membership_versions(connection, set(members), must_exist=True)

        try:
            await retry_while_locked(write)
        except UserAbsent as error:
            return error.username
        return None

    async def get(self, conversation_id: str, username: str) -> Conversation:
        """Reads a conversation as a member sees it, with the newest entry that the member may see; one statement.

        Raises:
            Absent: there is no such conversation, or the user is not in it.
        """
        row = await self._database.fetchrow(_GET, conversation_id, username)
        if row is None:
            raise Absent(conversation_id)
        return _to_conversation(row)

    async def list_page(
        self, username: str, *, after: tuple[datetime, str] | None, limit: int
    ) -> tuple[list[Conversation], bool]:
        """Lists a user's conversations, newest activity first, ties by id; one statement.

        Left out: direct ones without an entry that the user may see. The last entries are those of `get`.

        Args:
            after: (last_time, conversation_id) of the last one of the page before; None for the first page.
            limit: conversations at most; PAGE_BYTES may stop the page earlier.

        Returns:
            The page, and whether there is more.
        """
        after_time, after_id = after or (None, None)
        rows = await self._database.fetch(_LIST, username, after_time, after_id, limit)
        return [_to_conversation(row) for row in rows], bool(rows) and rows[0]["found_count"] > len(rows)

    async def update(
        self,
        conversation_id: str,
        caller: str,
        *,
        title: str | None,
        history_visible: bool | None,
        check: Callable[[MembershipView], None],
    ) -> None:
        """Changes what is given (None: unchanged).

        Args:
            check: raises what the caller is told when it may not be; asked while the conversation is locked.

        Raises:
            Absent: there is no such conversation.
        """

        async def write() -> None:
            async with self._database.transaction() as connection:
                await lock_conversation(connection, conversation_id)
                view = await read_standing(connection, conversation_id, caller)
                if view is None:
                    raise Absent(conversation_id)
                check(view)
                await connection.execute(
                    """UPDATE conversations SET title = coalesce($2, title),
                                                history_visible = coalesce($3, history_visible)
                       WHERE conversation_id = $1""",
                    conversation_id,
                    title,
                    history_visible,
                )

        await retry_while_locked(write)

    async def hide(self, conversation_id: str, username: str) -> None:
        """Takes from a member's sight all that there is; what comes later is seen again. For direct ones; idempotent.

        Raises:
            Absent: there is no such conversation, or the user is not in it.
        """

        async def write() -> None:
            async with self._database.transaction() as connection:
                await lock_conversation(connection, conversation_id)
                if not await connection.fetchval(_HIDE, conversation_id, username):
                    raise Absent(conversation_id)
                await raise_membership_versions(connection, {username}, must_exist=False)

        await retry_while_locked(write)

    async def list_group_ids(self, username: str) -> list[str]:
        """Lists the groups that the user is in, by id."""
        rows = await self._database.fetch(
            f"""SELECT c.conversation_id FROM members m {JOIN_LIVE_CONVERSATIONS}
               WHERE m.username = $1 AND m.role > 0 AND c.kind = 2 ORDER BY c.conversation_id""",
            username,
        )
        return [row["conversation_id"] for row in rows]

    async def shares_conversation(self, username: str, others: Sequence[str]) -> set[str]:
        """Returns those of the others who are in a conversation that the user is in, the user among them."""
        rows = await self._database.fetch(
            """SELECT DISTINCT o.username FROM members o
               JOIN members m ON m.conversation_id = o.conversation_id
               WHERE m.username = $1 AND m.role > 0 AND o.username = ANY ($2) AND o.role > 0""",
            username,
            list(others),
        )
        return {row["username"] for row in rows} | ({username} & set(others))


_INSERT_MEMBERS = """
INSERT INTO members (conversation_id, username, role, visible, start_seq, read_seq, read_count, join_time)
SELECT $1, joined.username, joined.role, '{[1,)}', 0, 0, 0, $4
FROM unnest($2::text[], $3::smallint[]) AS joined(username, role) ORDER BY joined.username"""


def _to_conversation(row: asyncpg.Record) -> Conversation:
    return Conversation(
        conversation_id=row["id"],
        kind=ConversationKind(row["conversation_kind"]),
        title=row["title"],
        history_visible=row["history_visible"],
        create_time=row["creation_time"],
        last_time=row["last_time"],
        first_seq=row["first_seq"],
        last_seq=row["last_seq"],
        member_count=row["member_count"],
        role=Role(row["role"]),
        read_seq=row["read_seq"],
        unread_count=row["unread_count"],
        last_entry=None if row["seq"] is None else to_entry(row),
    )
