"""The steps of a transaction that changes who is in a conversation; `members.py` puts them in order.

The conversation is locked first, and each step is a statement that starts after that: it sees what those who held the
lock before committed, their repeats and their changes (docs/adr/0002-one-call-stores-a-batch.md says why one statement
can't do it). Order of locks: conversation, members, users.
"""

from collections.abc import Sequence

from storage.errors import UserAbsent
from storage.postgres.connections.database import Connection
from storage.postgres.log.messages import ENTRY_COLUMNS, to_entry
from storage.records import (
    ConversationKind,
    Entry,
    MembershipAction,
    MembershipChange,
    MembershipResult,
    MembershipView,
    Outcome,
    Role,
)

# What a membership entry takes in a frame besides the names: ids, times, tags.
_ENTRY_BYTES = 160
_NAME_BYTES = 34

_APPEND = f"SELECT {ENTRY_COLUMNS} FROM append_membership($1, $2, $3, $4, $5, $6, $7, $8) AS e"

# A former member's row gets another interval; one who is new gets a row.
_ADD = """
INSERT INTO members AS m (conversation_id, username, role, visible, start_seq, read_seq, read_count, own_unread,
                          join_time)
SELECT c.conversation_id, added.username, $3,
       int8multirange(int8range(CASE WHEN c.history_visible THEN 1 ELSE $4::bigint END, NULL)),
       $4::bigint - 1, $4::bigint - 1, c.message_count, 0, $5
FROM conversations c CROSS JOIN unnest($2::text[]) AS added(username)
WHERE c.conversation_id = $1
ORDER BY added.username
ON CONFLICT (conversation_id, username) DO UPDATE
SET role = excluded.role, visible = m.visible + excluded.visible,
    read_seq = excluded.read_seq, read_count = excluded.read_count, own_unread = 0, join_time = excluded.join_time"""

# The removed see the entry that removed them ($2) and nothing above.
_CLOSE = """
UPDATE members m
SET role = 0, visible = m.visible * int8multirange(int8range(1, $2::bigint, '[]'))
WHERE m.conversation_id = $1 AND m.role > 0 {whom}
RETURNING m.username"""
_CLOSE_SOME = _CLOSE.format(whom="AND m.username = ANY ($3)")
_CLOSE_ALL = _CLOSE.format(whom="")

# NOT IN a subquery is looked up in a hash; <> ALL would compare 20,000 members with 500 names one by one.
_STANDING = """
SELECT c.kind, c.member_count,
       (SELECT jsonb_object_agg(m.username, m.role) FROM members m
        WHERE m.conversation_id = $1 AND m.username = ANY ($3 || $2::text)) AS roles,
       heir.username AS successor, heir.role AS successor_role
FROM conversations c LEFT JOIN LATERAL (
    SELECT m.username, m.role FROM members m
    WHERE m.conversation_id = $1 AND m.role > 0 AND m.username NOT IN (SELECT unnest($3::text[]))
    ORDER BY m.role DESC, m.join_time, m.username LIMIT 1
) heir ON true
WHERE c.conversation_id = $1 AND c.delete_time IS NULL"""

# Locks the users by name. The second condition is looked at again when a deletion was waited for.
_RAISE_VERSIONS = """
WITH locked AS (
    SELECT u.username FROM users u
    WHERE u.username = ANY ($1) AND (u.delete_time IS NULL OR NOT $2)
    ORDER BY u.username FOR NO KEY UPDATE
)
UPDATE users u SET membership_version = u.membership_version + 1
FROM locked l WHERE u.username = l.username RETURNING u.username"""


async def lock_conversation(connection: Connection, conversation_id: str) -> bool:
    """Locks it until the transaction ends; False when there is none. Deleted ones are locked too."""
    return bool(
        await connection.fetchval(
            "SELECT true FROM conversations WHERE conversation_id = $1 FOR NO KEY UPDATE", conversation_id
        )
    )


async def read_standing(
    connection: Connection, conversation_id: str, caller: str, usernames: Sequence[str] = ()
) -> MembershipView | None:
    """Reads what a decision is made from; None when the conversation is deleted. The caller has locked it."""
    row = await connection.fetchrow(_STANDING, conversation_id, caller, list(usernames))
    if row is None:
        return None
    known = row["roles"] or {}
    return MembershipView(
        kind=ConversationKind(row["kind"]),
        member_count=row["member_count"],
        caller_role=Role(known.get(caller, 0)),
        roles={username: Role(known.get(username, 0)) for username in usernames},
        successor=row["successor"],
        successor_role=Role(row["successor_role"] or 0),
    )


async def raise_membership_versions(connection: Connection, usernames: set[str], *, must_exist: bool) -> None:
    """Counts up what says that a user is a member of something else than before. Locks the users, by name.

    Raises:
        UserAbsent: `must_exist` and one of them has no account, or has none any more. A deletion that runs at the same
            time is waited for, or waits, so nobody is added after their account's deletion.
    """
    if not usernames:
        return
    rows = await connection.fetch(_RAISE_VERSIONS, sorted(usernames), must_exist)
    if must_exist and len(rows) < len(usernames):
        raise UserAbsent(min(usernames - {row["username"] for row in rows}))


async def find_repeat(
    connection: Connection, conversation_id: str, caller: str, request_id: str, request_hash: bytes
) -> MembershipResult | None:
    """Looks for an entry of the caller with this request id: DUPLICATE, REUSED, or None when there is none."""
    row = await connection.fetchrow(
        f"""SELECT {ENTRY_COLUMNS}, e.request_hash FROM messages e
            WHERE e.conversation_id = $1 AND e.sender = $2 AND e.request_id = $3""",
        conversation_id,
        caller,
        request_id,
    )
    if row is None:
        return None
    if row["request_hash"] != request_hash:
        return MembershipResult(Outcome.REUSED)
    return MembershipResult(Outcome.DUPLICATE, (to_entry(row),))


async def append_entry(
    connection: Connection,
    conversation_id: str,
    caller: str,
    request_id: str,
    request_hash: bytes,
    change: MembershipChange,
) -> Entry:
    """Appends the change to the log and to the commit feed. The caller has locked the conversation."""
    growth = {MembershipAction.ADDED: 1, MembershipAction.REMOVED: -1}.get(change.action, 0)
    row = await connection.fetchrow(
        _APPEND,
        conversation_id,
        caller,
        request_id,
        request_hash,
        _ENTRY_BYTES + _NAME_BYTES * len(change.members),
        {"membership": {"action": change.action, "members": list(change.members), "role": change.role}},
        growth * len(change.members),
        change.action == MembershipAction.CONVERSATION_DELETED,
    )
    assert row is not None  # the conversation is there and locked
    return to_entry(row)


async def apply_change(connection: Connection, entry: Entry, change: MembershipChange) -> set[str]:
    """Writes the members' rows; returns who is in or out now and was not before."""
    members = list(change.members)
    match change.action:
        case MembershipAction.ADDED:
            await connection.execute(_ADD, entry.conversation_id, members, change.role, entry.seq, entry.create_time)
            return set(members)
        case MembershipAction.ROLE_CHANGED:
            await connection.execute(
                "UPDATE members SET role = $3 WHERE conversation_id = $1 AND username = ANY ($2) AND role > 0",
                entry.conversation_id,
                members,
                change.role,
            )
            return set()
        case MembershipAction.REMOVED:
            rows = await connection.fetch(_CLOSE_SOME, entry.conversation_id, entry.seq, members)
        case MembershipAction.CONVERSATION_DELETED:
            rows = await connection.fetch(_CLOSE_ALL, entry.conversation_id, entry.seq)
    return {row["username"] for row in rows}
