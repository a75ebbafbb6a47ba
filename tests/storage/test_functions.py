"""The functions of the database: where they are written down, what inserts into the log, and what queries inline."""

import json
import re
from pathlib import Path

import pytest

import service
import storage
from storage.postgres.connections.database import Database
from storage.postgres.conversations.members import _MARK_READ
from storage.postgres.devices.cursors import _ATTEND
from storage.postgres.log.append import Appender
from storage.postgres.log.batches import Batch
from storage.postgres.log.messages import PAGE_BYTES, PAGE_FORWARD
from storage.records import Draft
from tests.support.log import add_group, draft
from tests.support.logs import add_users

FILES = sorted((Path(storage.__path__[0]) / "postgres/schema/functions").glob("*.sql"))
PACKAGES = [Path(package.__path__[0]) for package in (storage, service)]
LIST = """
SELECT p.oid::regprocedure::text AS name, pg_get_functiondef(p.oid) AS definition
FROM pg_proc p WHERE p.pronamespace = current_schema()::regnamespace"""
# The call of workers of 0.1.0 and 0.1.1.
STORE_OF_RELEASE = """
SELECT ord, outcome, seq, create_time
FROM store_messages($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"""


async def functions_of(database: Database) -> dict[str, str]:
    schema = await database.fetchval("SELECT current_schema()")
    rows = await database.fetch(LIST)
    return {row["name"]: row["definition"].replace(f"{schema}.", "") for row in rows}


async def test_files_have_the_functions_as_they_are(database: Database) -> None:
    migrated = await functions_of(database)
    async with database.transaction() as connection:
        for name in migrated:
            await connection.execute(f"DROP FUNCTION {name} CASCADE")
        for file in FILES:
            await connection.execute(file.read_text())
    assert await functions_of(database) == migrated


def without_comments(sql: str) -> str:
    return re.sub("--.*", "", sql)


def test_one_function_inserts_into_the_log() -> None:
    found = re.compile(r"INSERT\s+INTO\s+messages\b", re.IGNORECASE)
    functions = re.split(r"(?=^CREATE FUNCTION )", "".join(file.read_text() for file in FILES), flags=re.MULTILINE)
    having = [sql.split("(")[0] for sql in functions if found.search(without_comments(sql))]
    assert having == ["CREATE FUNCTION append_entries"]
    sources = [path for package in PACKAGES for path in package.rglob("*.py")]
    assert len(sources) > 200
    assert [path for path in sources if found.search(path.read_text())] == []


def test_one_function_says_where_a_member_s_sight_ends() -> None:
    found = re.compile(r"(?<!lower_)\bupper(?:_inf)?\(\w+\.visible\)")
    sources = [*FILES, *(path for package in PACKAGES for path in package.rglob("*.py"))]
    assert [path for path in sources if found.search(path.read_text())] == []


@pytest.mark.parametrize(
    ("visible", "end"),
    [("{[1,)}", 9), ("{[4,)}", 9), ("{[1,6)}", 5), ("{[1,3),[5,8)}", 7), ("{[1,3),[5,)}", 9), ("{}", 0)],
)
async def test_visible_end_is_the_last_seq_that_a_member_may_see(
    module_database: Database, visible: str, end: int
) -> None:
    sql = "SELECT visible_end($1::text::int8multirange, 9)"
    assert await module_database.fetchval(sql, visible) == end


@pytest.mark.parametrize(
    ("sql", "arguments"),
    [
        (PAGE_FORWARD, ("g", "ann", 1, 10, PAGE_BYTES)),
        (_ATTEND, ("ann", "phone", None, [], False)),
        (_MARK_READ, ("g", "ann", 1)),
    ],
    ids=["page", "attend", "mark read"],
)
async def test_queries_inline_functions(module_database: Database, sql: str, arguments: tuple[object, ...]) -> None:
    (row,) = await module_database.fetch(f"EXPLAIN (VERBOSE, FORMAT JSON) {sql}", *arguments)
    plan = row[0] if isinstance(row[0], str) else json.dumps(row[0])
    assert "visible" in plan or "own_unread" in plan
    assert "visible_end" not in plan
    assert "counts_as_message" not in plan


async def test_workers_of_the_release_store_by_the_call_that_they_know(database: Database) -> None:
    await add_users(database, "ann", "bob", "dan")
    for name in ("old", "new"):
        await add_group(database, name, "ann", "bob")
    appender = Appender(database)

    def batch_of(name: str, *more: Draft) -> list[Draft]:
        first = draft(name, "ann", "a", request_id="1")
        return [first, draft(name, "bob", "b", request_id="2", reply_to_seq=len(more)), *more]

    for more in (0, 1):
        logs = []
        for name in ("old", "new"):
            drafts = batch_of(name, *[draft(name, "dan", request_id="3") for _ in range(more)])
            if name == "new":
                answers = await appender.store(drafts)
            else:
                batch = Batch(drafts)
                answers = batch.to_answers(await database.fetch(STORE_OF_RELEASE, *batch.arguments()))
            rows = await database.fetch(
                """SELECT e.seq, e.kind, e.sender, e.request_id, e.message_number, e.text, e.reply_to_seq, c.last_seq,
                          c.message_count
                   FROM messages e JOIN conversations c USING (conversation_id)
                   WHERE conversation_id = $1 ORDER BY e.seq""",
                name,
            )
            logs.append(([(answer.outcome, answer.seq) for answer in answers], [tuple(row) for row in rows]))
        assert logs[0] == logs[1]
    appender.discard()
