"""`parley stats`, and how commands tell of a database that is away or of another version."""

import asyncio
import json
import secrets
from collections.abc import Awaitable, Iterator
from importlib import metadata

import asyncpg
import pytest

from storage.postgres.schema.migrate import migrate, migration_files
from tests.support.commands import command
from tests.support.waiting import wait_until

COMMANDS = [
    ("user", "list"),
    ("user", "show", "alice"),
    ("user", "create", "alice"),
    ("user", "disable", "alice"),
    ("user", "logout", "alice"),
    ("user", "export", "alice"),
    ("user", "delete", "alice", "--yes"),
    ("login", "list", "alice"),
    ("login", "end", "abc"),
    ("device", "list", "alice"),
    ("device", "delete", "alice", "phone"),
    ("stats",),
]
each_command = pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)


@pytest.fixture(scope="module")
def schema(postgres_url: str) -> Iterator[str]:
    name = f"cli_{secrets.token_hex(4)}"
    asyncio.run(migrate(postgres_url, schema=name))
    yield name
    sql(postgres_url, f'DROP SCHEMA "{name}" CASCADE')


def sql(url: str, statement: str) -> None:
    async def work() -> None:
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    run(work())


def run(work: Awaitable[None]) -> None:
    asyncio.run(work)  # type: ignore[arg-type]


def line_of(*arguments: str, **settings: str) -> str:
    done = command(*arguments, **settings)
    assert (done.exit_code, done.stdout) == (1, ""), done.output
    (line,) = done.stderr.splitlines()
    return line


def stats(url: str, schema: str) -> dict[str, object]:
    done = command("stats", "--json", PARLEY_DATABASE_URL=url, PARLEY_DATABASE_SCHEMA=schema)
    assert done.exit_code == 0, done.output
    return dict(json.loads(done.stdout))


def rows_of(document: dict[str, object]) -> dict[str, tuple[int, bool]]:
    return {table["name"]: (table["rows"], table["is_estimate"]) for table in document["tables"]}  # type: ignore[attr-defined]


def test_stats_count_and_say_how_old_what_is(postgres_url: str, schema: str) -> None:
    document = stats(postgres_url, schema)
    assert set(document) == {
        *("version", "deployment_id", "epoch", "create_time", "server_version", "database_bytes", "workers"),
        *("dead_letters_made", "migrations", "tables", "oldest"),
    }
    assert document["version"] == metadata.version("parley-server")
    assert document["migrations"] == sorted(migration_files())
    assert set(document["oldest"].values()) == {None}  # type: ignore[attr-defined]
    sql(
        postgres_url,
        f"SET search_path = {schema};"
        "INSERT INTO users (username, issuer, subject)"
        " SELECT 'u' || n, 'parley', 'u' || n FROM generate_series(1, 7) n;"
        "INSERT INTO commit_feed (conversation_ids, last_seqs, create_time) VALUES ('{}', '{}', to_timestamp(0))",
    )
    document = stats(postgres_url, schema)
    assert rows_of(document)["users"] == (7, False)
    assert document["oldest"]["commit_feed"] == "1970-01-01T00:00:00Z"  # type: ignore[index]
    text = command("stats", PARLEY_DATABASE_URL=postgres_url, PARLEY_DATABASE_SCHEMA=schema).stdout
    assert "users:\t7\n" in text
    assert "oldest of commit feed:\t1970-01-01T00:00:00Z\n" in text


def test_many_rows_are_estimated(postgres_url: str, schema: str) -> None:
    insert = (
        "INSERT INTO revocations (username, expire_time)"
        " SELECT 'u', clock_timestamp() + interval '1 day' FROM generate_series(1, {count})"
    )
    sql(postgres_url, f"SET search_path = {schema}; {insert.format(count=10_000)}")
    assert rows_of(stats(postgres_url, schema))["revocations"] == (10_000, False)
    sql(postgres_url, f"SET search_path = {schema}; {insert.format(count=10_000)}; ANALYZE revocations")
    wait_until(lambda: rows_of(stats(postgres_url, schema))["revocations"] == (20_000, True), what="the estimate")
    text = command("stats", PARLEY_DATABASE_URL=postgres_url, PARLEY_DATABASE_SCHEMA=schema).stdout
    assert "revocations\t~20000\t" in text


@each_command
def test_database_of_another_version_is_one_line(postgres_url: str, schema: str, arguments: tuple[str, ...]) -> None:
    place = {"PARLEY_DATABASE_URL": postgres_url, "PARLEY_DATABASE_SCHEMA": schema}
    newest = max(migration_files())
    sql(postgres_url, f"UPDATE {schema}.migrations SET name = '9999_later.sql' WHERE name = '{newest}'")
    try:
        assert "is newer than this version (it has 9999_later.sql): use a newer `parley`" in line_of(
            *arguments, **place
        )
        sql(postgres_url, f"DELETE FROM {schema}.migrations WHERE name = '9999_later.sql'")
        line = line_of(*arguments, **place)
        assert f"is older than this version (it lacks {newest}): start the new server, or run `parley migrate`" in line
    finally:
        sql(postgres_url, f"DELETE FROM {schema}.migrations WHERE name IN ('{newest}', '9999_later.sql')")
        sql(postgres_url, f"INSERT INTO {schema}.migrations VALUES ('{newest}', '')")
    nowhere = place | {"PARLEY_DATABASE_SCHEMA": "nowhere"}
    assert "the schema is not there; run `parley migrate`" in line_of(*arguments, **nowhere)


@each_command
def test_database_that_is_away_is_one_line_without_its_password(arguments: tuple[str, ...]) -> None:
    line = line_of(*arguments, PARLEY_DATABASE_URL="postgresql://parley:hunter2@127.0.0.1:1/parley")
    assert "127.0.0.1:1" in line
    assert "hunter2" not in line
