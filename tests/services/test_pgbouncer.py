"""PgBouncer in front of PostgreSQL 15: in session mode: it and the database end at once and come back."""

from tests.services.pgbouncer import PgBouncer
from tests.services.postgres15 import Postgres15
from tests.services.site import Site
from tests.services.traffic import assert_kept_through, open_traffic


async def test_restart_of_the_pooler_and_of_the_database_cost_no_message(site: Site, postgres: Postgres15) -> None:
    pooler = PgBouncer(site, postgres, mode="session")
    pooler.start()

    def restart_database() -> None:
        postgres.stop()
        postgres.start()

    settings = {"PARLEY_DATABASE_URL": postgres.url("parley", port=pooler.port)}
    async with open_traffic(settings, database_url=postgres.checker_url) as traffic:
        await assert_kept_through("pgbouncer, session mode", traffic, pooler.restart, restart_database)
