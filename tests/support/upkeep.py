"""Upkeep at once, for tests."""

from storage.postgres.connections.database import Database
from storage.postgres.schema.upkeep import Upkeep


async def keep_up(database: Database) -> int:
    """Does all chores, due or not; gives how many rows went."""
    await database.execute("UPDATE upkeep SET due_time = clock_timestamp()")
    return await Upkeep(database).run(budget_seconds=30)
