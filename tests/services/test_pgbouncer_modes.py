"""PgBouncer in front of PostgreSQL: sessions are kept, and a pool that lends them out is recognized."""

import pytest
import structlog

from storage.errors import Lasting
from storage.postgres.connections.database import Database
from storage.postgres.connections.primary import Primary
from storage.postgres.schema.migrate import migrate
from tests.services.pgbouncer import PgBouncer
from tests.services.postgres15 import Postgres15
from tests.services.site import Site
from tests.support.log import add_group
from tests.support.logs import add_users
from tests.support.servers import running_server


def pooled(site: Site, postgres: Postgres15, mode: str, *, size: int = 40) -> PgBouncer:
    """Starts a pooler."""
    pooler = PgBouncer(site, postgres, mode=mode, pool_size=size)
    pooler.start()
    return pooler


@pytest.mark.short
async def test_session_pooling_works_though_the_pooler_knows_no_parameter_of_the_start(
    site: Site, postgres: Postgres15
) -> None:
    url = postgres.url("parley", port=pooled(site, postgres, "session").port)
    assert await migrate(url)
    assert await migrate(url) == []
    database = Database(url)
    await database.open()
    assert await database.fetchval("SHOW search_path") in ("parley", '"parley"')
    assert await database.fetchval("SHOW lock_timeout") == "250ms"
    await add_users(database, "ann")
    await add_group(database, "g", "ann")
    await database.close()
    with running_server(settings={"PARLEY_DATABASE_URL": url}) as server:
        assert server.target


@pytest.mark.short
@pytest.mark.parametrize("size", [1, 40])
@pytest.mark.parametrize("mode", ["transaction", "statement"])
async def test_pool_that_lends_sessions_is_refused_and_leaves_nothing_locked(
    site: Site, postgres: Postgres15, mode: str, size: int
) -> None:
    url = postgres.url("parley", port=pooled(site, postgres, mode, size=size).port)
    for _ in range(2):
        with pytest.raises(Lasting, match="pool_mode=session"):
            await migrate(url)
    assert postgres.sql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == "0"
    assert await migrate(postgres.url("parley"))


async def test_session_pool_of_one_is_no_transaction_pool(site: Site, postgres: Postgres15) -> None:
    url = postgres.url("parley", port=pooled(site, postgres, "session", size=1).port)
    with structlog.testing.capture_logs() as logs:
        assert await migrate(url)
    assert [entry["event"] for entry in logs if "no second session" in entry["event"]]


async def test_refusals_of_the_pooler_are_told_apart(site: Site, postgres: Postgres15) -> None:
    pooler = pooled(site, postgres, "session")
    url = postgres.url("parley", port=pooler.port)
    for changed in (url.replace("//parley:", "//nobody:"), url.replace("/chat", "/nowhere")):
        with pytest.raises(Lasting):
            await Primary(changed).connect()
