"""A turn is one worker's of all; it comes again after its interval, and nothing has to be given back."""

import asyncio

from storage.postgres.connections.database import Database
from storage.postgres.schema.turns import Turns


async def due_in_seconds(database: Database) -> float:
    return float(
        await database.fetchval(
            "SELECT extract(epoch FROM due_time - clock_timestamp()) FROM upkeep WHERE name = $1", "turn: purge"
        )
    )


async def make_due(database: Database) -> None:
    await database.execute("UPDATE upkeep SET due_time = clock_timestamp() WHERE name = 'turn: purge'")


async def test_of_all_who_come_at_once_one_has_the_turn_the_first_time_and_each_time_it_is_due(database) -> None:
    workers = [Turns(database) for _ in range(8)]
    for _ in range(4):
        taken = await asyncio.gather(*(worker.take("purge", 60.0) for worker in workers))
        assert sum(taken) == 1
        assert [await worker.take("purge", 60.0) for worker in workers] == [False] * 8
        await make_due(database)


async def test_turn_is_due_again_a_little_before_its_interval_is_over(database) -> None:
    assert await Turns(database).take("purge", 100.0)
    assert 80.0 < await due_in_seconds(database) <= 90.0
    await make_due(database)
    assert await Turns(database).take("purge", 1000.0)
    assert 880.0 < await due_in_seconds(database) <= 900.0


async def test_turns_of_different_work_do_not_meet_and_are_no_chores(database) -> None:
    turns = Turns(database)
    assert [await turns.take(name, 60.0) for name in ("purge", "upkeep", "logins", "purge")] == [
        True,
        True,
        True,
        False,
    ]
    names = {row["name"] for row in await database.fetch("SELECT name FROM upkeep WHERE position = '{}'")}
    assert names == {"turn: purge", "turn: upkeep", "turn: logins"}


async def test_who_has_no_turn_writes_nothing(database) -> None:
    turns = Turns(database)
    await turns.take("purge", 60.0)
    before = await database.fetchrow("SELECT xmin::text, xmax::text, ctid::text FROM upkeep WHERE name = 'turn: purge'")
    assert not await turns.take("purge", 60.0)
    assert before == await database.fetchrow(
        "SELECT xmin::text, xmax::text, ctid::text FROM upkeep WHERE name = 'turn: purge'"
    )
