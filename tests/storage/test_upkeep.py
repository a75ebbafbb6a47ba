"""What grows has an end: each chore takes what is over and leaves the rest, in batches, by one worker at a time."""

import asyncio
import json
from collections.abc import Sequence

import pytest

from storage.postgres.connections.database import Database
from storage.postgres.schema.upkeep import BATCH_ROWS, CHORES, Upkeep
from tests.support.log import add_group
from tests.support.logs import add_users
from tests.support.upkeep import keep_up


async def count(database: Database, table: str) -> int:
    return int(await database.fetchval(f"SELECT count(*) FROM {table}"))


async def column(database: Database, sql: str) -> list[str]:
    return [row[0] for row in await database.fetch(sql)]


async def add_logins(database: Database, *logins: tuple[str, str, str | None]) -> None:
    """Makes logins of ann: (id, when it expires, when it ended), counted from now."""
    for login_id, expires, ended in logins:
        await database.execute(
            "INSERT INTO logins (login_id, username, device_id, refresh_hash, expire_time, end_time) VALUES"
            " ($1, 'ann', 'd', '', clock_timestamp() + $2::text::interval, clock_timestamp() + $3::text::interval)",
            login_id,
            expires,
            ended,
        )


async def add_device(database: Database, username: str, device_id: str, conversation_ids: Sequence[str]) -> None:
    await database.execute("INSERT INTO devices (username, device_id) VALUES ($1, $2)", username, device_id)
    await add_cursors(database, username, device_id, conversation_ids)


async def add_cursors(database: Database, username: str, device_id: str, conversation_ids: Sequence[str]) -> None:
    await database.execute(
        "INSERT INTO cursors (username, device_id, conversation_id, acked_seq, epoch)"
        " SELECT $1, $2, id, 1, 1 FROM unnest($3::text[]) AS id",
        username,
        device_id,
        list(conversation_ids),
    )


async def test_logins_go_a_week_after_their_end_and_revocations_with_their_tokens(database: Database) -> None:
    await add_users(database, "ann")
    await add_logins(
        database,
        ("living", "1 day", None),
        ("ended", "1 day", "-6 days"),
        ("long ended", "1 day", "-8 days"),
        ("expired", "-6 days", None),
        ("long expired", "-8 days", None),
    )
    await database.execute(
        "INSERT INTO revocations (username, expire_time) VALUES"
        " ('ann', clock_timestamp() + interval '1 min'), ('bob', clock_timestamp() - interval '1 min')"
    )
    assert await keep_up(database) == 3
    assert await column(database, "SELECT login_id FROM logins ORDER BY 1") == ["ended", "expired", "living"]
    assert await column(database, "SELECT username FROM revocations") == ["ann"]


async def test_many_rows_go_in_several_batches(database: Database) -> None:
    await add_users(database, "ann")
    rows = 2 * BATCH_ROWS + 1
    await database.execute(
        "INSERT INTO revocations (username, expire_time) SELECT 'ann', to_timestamp(n) FROM generate_series(1, $1) n",
        rows,
    )
    upkeep = Upkeep(database)
    chore = next(chore for chore in CHORES if chore.name == "revocations")
    await upkeep._run_batch(chore)  # notes the chore
    assert [await upkeep._run_batch(chore) for _ in range(3)] == [BATCH_ROWS, BATCH_ROWS, 1]
    assert await upkeep._run_batch(chore) is None, "not due again"
    assert await count(database, "revocations") == 0


async def test_positions_of_devices_and_conversations_that_are_gone_go(database: Database) -> None:
    await add_users(database, "ann")
    for group in ("g1", "g2"):
        await add_group(database, group, "ann")
    await add_device(database, "ann", "phone", ["g1", "g2"])
    await add_cursors(database, "ann", "gone", ["g1", "g2"])
    assert await keep_up(database) == 2
    await database.execute("UPDATE conversations SET delete_time = clock_timestamp() WHERE conversation_id = 'g2'")
    assert await keep_up(database) == 1
    left = "SELECT device_id || ' ' || conversation_id FROM cursors"
    assert await column(database, left) == ["phone g1"]


async def test_walk_goes_on_where_another_worker_stopped_and_finds_all(database: Database) -> None:
    await add_users(database, "ann")
    names = [f"g{nth:05}" for nth in range(2 * BATCH_ROWS + 10)]
    await add_device(database, "ann", "phone", names)
    await add_cursors(database, "ann", "tablet", ["g00000"])
    chore = next(chore for chore in CHORES if chore.name == "cursors walk")
    assert await Upkeep(database)._run_batch(chore) == 0  # notes the chore
    assert await Upkeep(database)._run_batch(chore) == 0
    position = await database.fetchval("SELECT position FROM upkeep WHERE name = $1", chore.name)
    assert position == ["ann", "phone", names[BATCH_ROWS - 1]]
    assert [await Upkeep(database)._run_batch(chore) for _ in range(3)] == [0, 1, None]
    assert await database.fetchval("SELECT position FROM upkeep WHERE name = $1", chore.name) == []


async def test_walk_reads_by_the_index_what_it_looks_at_and_no_more(database: Database) -> None:
    await add_users(database, "ann")
    await add_device(database, "ann", "phone", [f"g{nth:05}" for nth in range(20_000)])
    await database.execute("ANALYZE cursors")
    chore = next(chore for chore in CHORES if chore.name == "cursors walk")
    async with database.acquire() as connection:
        explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {chore.sql}"
        shown = await connection.fetchval(explain, 10, ["ann", "phone", "g15000"])
    plan = json.loads(shown)[0]["Plan"]
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 200


async def test_old_dead_letters_and_restores_go(database: Database) -> None:
    await add_users(database, "ann")
    await add_group(database, "g1", "ann")
    await add_device(database, "ann", "phone", ["g1"])
    await database.execute(
        "INSERT INTO dead_letters (username, device_id, conversation_id, seq, attempts, last_reason, first_time,"
        " last_time, create_time) SELECT 'ann', 'phone', 'g1', days, 5, '', t, t, t"
        " FROM (SELECT days, clock_timestamp() - make_interval(days => days) AS t FROM unnest('{89, 91}'::int[]) days)"
    )
    await database.execute(
        "INSERT INTO restores SELECT extract(epoch FROM clock_timestamp() - make_interval(days => days)) * 1000,"
        " 'g1', 1 FROM unnest('{364, 367}'::int[]) AS days"
    )
    assert await keep_up(database) == 2
    assert await column(database, "SELECT seq FROM dead_letters") == [89]
    assert await count(database, "restores") == 1


async def test_two_workers_at_once_do_each_chore_once(database: Database) -> None:
    await database.execute(
        "INSERT INTO revocations (username, expire_time) SELECT 'ann', to_timestamp(n) FROM generate_series(1, 5000) n"
    )
    upkeeps = [Upkeep(database) for _ in range(3)]
    removed = await asyncio.gather(*(upkeep.run(budget_seconds=30) for upkeep in upkeeps))
    assert sum(removed) == 5000
    assert await count(database, "revocations") == 0


async def test_chore_that_another_worker_does_is_left_to_it(database: Database) -> None:
    chore = CHORES[0]
    await Upkeep(database)._run_batch(chore)
    async with database.transaction() as connection:
        await connection.execute("SELECT 1 FROM upkeep WHERE name = $1 FOR UPDATE", chore.name)
        assert await Upkeep(database)._run_batch(chore) is None


@pytest.mark.parametrize("chore", CHORES, ids=lambda chore: chore.name)
async def test_chore_over_nothing_is_done_at_once(database: Database, chore) -> None:
    upkeep = Upkeep(database)
    assert [await upkeep._run_batch(chore) for _ in range(3)] == [0, 0, None]
