"""A PostgreSQL 15 that somebody else runs: it ends at once and comes back in the middle of traffic."""

import pytest

from tests.services.postgres15 import Postgres15
from tests.services.traffic import assert_kept_through, open_traffic


@pytest.mark.short
async def test_restart_of_the_database_costs_no_message(postgres: Postgres15) -> None:
    def restart() -> None:
        postgres.stop()
        postgres.start()

    settings = {"PARLEY_DATABASE_URL": postgres.url("parley")}
    async with open_traffic(settings, database_url=postgres.checker_url) as traffic:
        await assert_kept_through("postgresql 15 restarts", traffic, restart)
