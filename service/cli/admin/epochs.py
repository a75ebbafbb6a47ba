"""Begins an epoch after the database was restored to an earlier state (`parley restored`)."""

from service.cli.admin.opening import open_database
from service.settings.tree import Settings
from storage.postgres.log.epochs import Epochs


async def begin_epoch(settings: Settings) -> int:
    """Notes that the database was restored to an earlier state; returns the number of the epoch that begins.

    Running servers notice within seconds.

    Raises:
        StartError: the database fails.
    """
    async with open_database(settings) as database:
        return await Epochs(database).begin_epoch()
