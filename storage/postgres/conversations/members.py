"""Who is in a conversation: changes, lists, read positions.

A change is one transaction, made of the steps of `membership_changes.py`. What may be changed is not decided here: the
caller gives a pure function that is asked while the conversation's lock is held, and that may be asked again when a
lock was not to be had.
"""

from collections.abc import Callable, Sequence

import asyncpg

from storage.errors import Absent
from storage.postgres.connections.database import Database
from storage.postgres.connections.lock_waits import retry_while_locked
from storage.postgres.conversations.membership_changes import (
    append_entry,
    apply_change,
    find_repeat,
    lock_conversation,
    raise_membership_versions,
    read_standing,
)
from storage.records import (
    Entry,
    Member,
    MembershipAction,
    MembershipChange,
    MembershipResult,
    MembershipView,
    Outcome,
    ReadPosition,
    Role,
)

# Gives the changes to make, in order, or raises what the caller is told; () when there is nothing to change.
Decide = Callable[[MembershipView], Sequence[MembershipChange]]

_MEMBER_COLUMNS = (
    "m.username, CASE WHEN u.delete_time IS NULL THEN u.display_name ELSE '' END AS display_name, m.role, m.join_time,"
    " m.read_seq"
)

# One statement, also against the caller's own sends: a row that changed while this waited is looked at again, and what
# is taken from own_unread is counted from its read_seq, below a last_seq whose messages this statement sees. The own
# messages above read_seq are own_unread in number, so counting stops when it has found that many.
_MARK_READ = """
WITH seen AS (
    SELECT c.last_seq, c.message_count, m.read_seq, m.read_count, m.own_unread
    FROM members m JOIN conversations c USING (conversation_id)
    WHERE m.conversation_id = $1 AND m.username = $2 AND m.role > 0
), moved AS (
    UPDATE members m
    SET read_seq = $3,
        read_count = coalesce((
            SELECT e.message_number FROM messages e
            WHERE e.conversation_id = $1 AND e.seq <= $3 ORDER BY e.seq DESC LIMIT 1
        ), 0),
        own_unread = m.own_unread - (
            SELECT count(*) FROM (
                SELECT 1 FROM messages e
                WHERE e.conversation_id = $1 AND e.seq > m.read_seq AND e.seq <= $3
                  AND e.sender = $2 AND counts_as_message(e.kind)
                ORDER BY e.seq LIMIT m.own_unread
            ) own
        )
    FROM seen s
    WHERE m.conversation_id = $1 AND m.username = $2 AND m.role > 0 AND m.read_seq < $3 AND $3 <= s.last_seq
    RETURNING m.read_seq, m.read_count, m.own_unread
)
SELECT s.last_seq, v.read_seq IS NOT NULL AS is_moved, coalesce(v.read_seq, s.read_seq) AS read_seq,
       greatest(s.message_count - coalesce(v.read_count, s.read_count) - coalesce(v.own_unread, s.own_unread), 0)
           AS unread_count
FROM seen s LEFT JOIN moved v ON true"""


class Members:
    """Memberships of conversations.

    Every method can raise Unavailable (of `storage.errors`) besides what it says; a change raises it, as LockTimeout,
    when the conversation stays locked for three seconds.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def change(
        self,
        conversation_id: str,
        caller: str,
        *,
        request_id: str,
        request_hash: bytes,
        usernames: Sequence[str],
        decide: Decide,
    ) -> MembershipResult:
        """Changes who is in: one transaction, one entry of the log for each change that was decided.

        A repeat (conversation, caller, request id) is found before anything is decided.

        Args:
            usernames: whom the request names, for `MembershipView.roles`.
            decide: what to change; the last change gets the request id, those before it get ids made from it.

        Raises:
            UserAbsent: one who is to be added does not exist; nothing is changed.
        """

        async def write() -> MembershipResult:
            async with self._database.transaction() as connection:
                if not await lock_conversation(connection, conversation_id):
                    return MembershipResult(Outcome.NO_CONVERSATION)
                repeat = await find_repeat(connection, conversation_id, caller, request_id, request_hash)
                if repeat is not None:
                    return repeat
                view = await read_standing(connection, conversation_id, caller, usernames)
                if view is None:
                    return MembershipResult(Outcome.NO_CONVERSATION)
                changes = decide(view)
                entries: list[Entry] = []
                moved: set[str] = set()
                for still_to_come, change in zip(range(len(changes) - 1, -1, -1), changes, strict=True):
                    own_id = f"{request_id}-{still_to_come}" if still_to_come else request_id
                    entry = await append_entry(connection, conversation_id, caller, own_id, request_hash, change)
                    moved |= await apply_change(connection, entry, change)
                    entries.append(entry)
                has_added = any(change.action == MembershipAction.ADDED for change in changes)
                await raise_membership_versions(connection, moved, must_exist=has_added)
            return MembershipResult(Outcome.STORED, tuple(entries), tuple(sorted(moved)))

        return await retry_while_locked(write)

    async def list_page(self, conversation_id: str, caller: str, *, after: str, limit: int) -> list[Member]:
        """Lists members by name, as seen by one of them; one statement.

        Args:
            after: the last name of the page before; "" for the first page.

        Raises:
            Absent: there is no such conversation, or the caller is not in it.
        """
        rows = await self._database.fetch(
            f"""SELECT page.* FROM members me LEFT JOIN LATERAL (
                    SELECT {_MEMBER_COLUMNS} FROM members m JOIN users u USING (username)
                    WHERE m.conversation_id = $1 AND m.role > 0 AND m.username > $3
                    ORDER BY m.username LIMIT $4
                ) page ON true
                WHERE me.conversation_id = $1 AND me.username = $2 AND me.role > 0
                ORDER BY page.username""",
            conversation_id,
            caller,
            after,
            limit,
        )
        if not rows:
            raise Absent(conversation_id)
        return [_to_member(row) for row in rows if row["username"] is not None]

    async def find_member(self, conversation_id: str, caller: str, username: str) -> Member | None:
        """Reads a member, as seen by one of them; None when one of the two is not in."""
        row = await self._database.fetchrow(
            f"""SELECT {_MEMBER_COLUMNS} FROM members m JOIN users u USING (username)
                JOIN members me ON me.conversation_id = m.conversation_id AND me.username = $2 AND me.role > 0
                WHERE m.conversation_id = $1 AND m.username = $3 AND m.role > 0""",
            conversation_id,
            caller,
            username,
        )
        return None if row is None else _to_member(row)

    async def mark_read(self, conversation_id: str, username: str, seq: int) -> ReadPosition:
        """Moves a member's read position up to seq; one statement, a second one when another call overtook this one.

        A lower seq, or one above the end, moves nothing; `last_seq` of the result tells which.

        Raises:
            Absent: there is no such conversation, or the user is not in it.
        """

        async def write() -> ReadPosition:
            row = await self._database.fetchrow(_MARK_READ, conversation_id, username, seq)
            if row is None:
                raise Absent(conversation_id)
            return ReadPosition(row["read_seq"], row["unread_count"], row["last_seq"], row["is_moved"])

        position = await retry_while_locked(write)
        if not position.is_moved and position.read_seq < seq <= position.last_seq:
            return await retry_while_locked(write)
        return position


def _to_member(row: asyncpg.Record) -> Member:
    return Member(row["username"], row["display_name"], Role(row["role"]), row["join_time"], row["read_seq"])
