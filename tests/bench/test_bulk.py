"""What is put into the database before a run is what as many sends would have left there."""

import json
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from bench.errors import BenchError
from bench.filling import fill
from bench.site import own_site
from bench.texts import Texts

pytestmark = pytest.mark.timeout(120)

# Of what no two messages have in common, only the length is compared.
_MESSAGES = """
SELECT to_jsonb(m) || jsonb_build_object('request_hash', length(request_hash), 'text', length(text))
FROM messages m WHERE conversation_id = $1 ORDER BY seq"""
_CONVERSATION = "SELECT to_jsonb(c) FROM conversations c WHERE conversation_id = $1"
_MEMBERS = "SELECT to_jsonb(m) FROM members m WHERE conversation_id = $1 ORDER BY role"
_FEED = """
SELECT to_jsonb(max(last_seq)) FROM commit_feed, unnest(conversation_ids, last_seqs) AS f(conversation_id, last_seq)
WHERE conversation_id = $1"""
_OWN_COLUMNS = ("conversation_id", "request_id", "creation_request", "creation_hash")
_TIME_COLUMNS = ("create_time", "last_time", "join_time")


async def look(connection: asyncpg.Connection, conversation: str) -> list[Any]:
    """All that the database has of a conversation, without what is its alone."""
    found = []
    for statement in (_CONVERSATION, _MEMBERS, _MESSAGES):
        rows = [json.loads(row[0]) for row in await connection.fetch(statement, conversation)]
        for row in rows:
            for name in _OWN_COLUMNS:
                row.pop(name, None)
            row.update({name: "a time" for name in _TIME_COLUMNS if row.get(name)})
        found.append(rows)
    return [*found, await connection.fetchval(_FEED, conversation)]


async def test_log_that_was_put_there_is_as_one_that_was_sent():
    texts = Texts("1a2b3c4d", 100)
    async with own_site(1, lambda _: None) as site:
        writer, reader = await site.users.take(2)
        groups = await site.make_groups([(writer, [reader.name])] * 3)
        assert site.bulk is not None
        little_by_little = replace(site, bulk=replace(site.bulk, rows_a_statement=100))
        filled = await little_by_little.fill(groups[:2], [writer] * 2, 501, texts)
        assert [group.base_seq for group in filled] == [251, 250]
        sent = groups[2].conversation
        await fill(site.address, writer, 2, {sent: 251}, texts)
        async with site.bulk.connected() as connection:
            expected = await look(connection, sent)
            assert len(expected[2]) == 251
            assert await look(connection, filled[0].conversation) == expected


async def test_disk_without_room_is_said_before_anything_is_written():
    async with own_site(1, lambda _: None) as site:
        writer, reader = await site.users.take(2)
        groups = await site.make_groups([(writer, [reader.name])])
        said = r"1,000,000,000,000 messages take some 419,096 GiB, and the disk of .* has [0-9.,]+ [GM]iB free"
        with pytest.raises(BenchError, match=said):
            await site.fill(groups, [writer], 10**12, Texts("1a2b3c4d", 100))
