"""What the log has in the end: from PostgreSQL itself, and as a user pulls it."""

import json
from collections.abc import Collection
from functools import partial
from typing import Any

import asyncpg
import grpc
from parley.v1 import message_pb2

from tests.faults.history import Entry, Unsettled
from tests.support.people import Person, connected
from tests.support.waiting import wait_for

_ADDED, _REMOVED = 1, 2  # MembershipChange.Action


async def read_last_seqs(url: str) -> dict[str, int]:
    """Conversation -> its last seq."""
    connection = await asyncpg.connect(url, timeout=5)
    try:
        rows = await connection.fetch("SELECT conversation_id, last_seq FROM parley.conversations")
    finally:
        await connection.close()
    return {row["conversation_id"]: row["last_seq"] for row in rows}


async def read_log(url: str) -> list[Entry]:
    """Every row of every conversation, in order."""
    connection = await asyncpg.connect(url, timeout=5)
    try:
        rows = await connection.fetch(
            "SELECT conversation_id, seq, kind, sender, request_id, text, extras FROM parley.messages"
            " ORDER BY conversation_id, seq"
        )
    finally:
        await connection.close()
    return [_to_entry(row) for row in rows]


async def read_unsettled(url: str, groups: Collection[str]) -> list[Unsettled]:
    """What these consumer groups (user/device) did not settle, and where they were not given everything."""
    connection = await asyncpg.connect(url, timeout=5)
    try:
        rows = await connection.fetch(
            """SELECT g.name, d.conversation_id, d.seq
               FROM unnest($1::text[]) AS g(name)
               JOIN parley.deliveries d ON d.username || '/' || d.device_id = g.name
               UNION
               SELECT g.name, m.conversation_id, coalesce(k.acked_seq, m.start_seq) + 1
               FROM unnest($1::text[]) AS g(name)
               JOIN parley.members m ON m.username = split_part(g.name, '/', 1) AND m.role > 0
               JOIN parley.conversations c ON c.conversation_id = m.conversation_id
               LEFT JOIN parley.cursors k ON k.username || '/' || k.device_id = g.name
                                         AND k.conversation_id = m.conversation_id
               WHERE coalesce(k.acked_seq, m.start_seq) < c.last_seq""",
            list(groups),
        )
    finally:
        await connection.close()
    return [Unsettled(*row) for row in rows]


async def pull_seqs(target: str, person: Person, conversation_id: str) -> list[int]:
    """The seqs of a conversation as its member pulls them from host:port, page by page."""
    seqs: list[int] = []
    has_more, cursor = True, 0
    async with connected(target) as stub:
        while has_more:
            request = message_pb2.PullRequest(conversation_id=conversation_id, cursor=cursor, limit=500)
            page = await wait_for(partial(_pull, stub, request, person), limit_seconds=20, what="a page")
            seqs += [message.seq for message in page.messages]
            has_more, cursor = page.has_more, page.next_cursor
    return seqs


async def _pull(stub: Any, request: message_pb2.PullRequest, person: Person) -> message_pb2.PullResponse | None:
    """Reads a page; None while the server has not found its database again."""
    try:
        return await stub.Pull(request, metadata=person.metadata, timeout=20)
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.UNAVAILABLE:
            return None
        raise


def _to_entry(row: asyncpg.Record) -> Entry:
    change = json.loads(row["extras"] or "{}").get("membership", {"action": 0, "members": []})
    members = frozenset(change["members"])
    return Entry(
        row["conversation_id"],
        row["seq"],
        row["sender"],
        row["request_id"],
        row["text"],
        is_message=row["kind"] == 1,
        added=members if change["action"] == _ADDED else frozenset(),
        removed=members if change["action"] == _REMOVED else frozenset(),
    )
