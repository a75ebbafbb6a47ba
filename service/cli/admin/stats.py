"""How much there is (`parley stats`)."""

from service.cli.admin.opening import open_database
from service.settings.tree import Settings
from storage.postgres.accounts.stats import Stats, read_stats


async def get_stats(settings: Settings) -> Stats:
    """Reads the figures of the database.

    Raises:
        StartError: the database fails.
    """
    async with open_database(settings) as database:
        return await read_stats(database)
