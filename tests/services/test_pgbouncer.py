"""PgBouncer in front of PostgreSQL 15: session mode serves, transaction mode is refused in one line."""

import pytest

from tests.services.pgbouncer import PgBouncer
from tests.services.postgres15 import Postgres15
from tests.services.site import Site
from tests.services.test_postgres15 import parley
from tests.services.traffic import assert_kept_through, open_traffic

pytestmark = pytest.mark.short


async def test_restart_of_the_pooler_and_of_the_database_cost_no_message(site: Site, postgres: Postgres15) -> None:
    pooler = PgBouncer(site, postgres, mode="session")
    pooler.start()

    def restart_database() -> None:
        postgres.stop()
        postgres.start()

    settings = {"PARLEY_DATABASE_URL": postgres.url("parley", port=pooler.port)}
    async with open_traffic(settings, database_url=postgres.checker_url) as traffic:
        await assert_kept_through("pgbouncer, session mode", traffic, pooler.restart, restart_database)


@pytest.mark.parametrize("mode", ["transaction", "statement"])
async def test_pooler_that_lends_sessions_is_refused_in_one_line(site: Site, postgres: Postgres15, mode: str) -> None:
    pooler = PgBouncer(site, postgres, mode=mode)
    pooler.start()
    done = parley(postgres, "parley", "serve", port=pooler.port)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "pool_mode" in done.stderr
    assert postgres.sql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == "0"
