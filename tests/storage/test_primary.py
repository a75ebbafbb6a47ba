"""Which of several servers is used. Two ways to one server stand for two primaries on the same timeline."""

import pytest

from storage.embedded import EmbeddedPostgres
from storage.postgres.connections.primary import Primary
from tests.support.databases import Backends
from tests.support.proxy import Proxy, open_proxy


async def connect(primary: Primary, *ways: Proxy) -> Proxy:
    """Connects, after a loss; gives the way that was taken."""
    primary.doubt()
    connection = await primary.connect()
    try:
        port = connection._addr[1]  # asyncpg does not tell otherwise
        return next(way for way in ways if way.port == port)
    finally:
        connection.terminate()


def url_of(*ways: Proxy) -> str:
    return f"postgresql://postgres@{','.join(way.target for way in ways)}/postgres?sslmode=disable"


@pytest.fixture
def postgres(backends: Backends) -> EmbeddedPostgres:
    return backends.postgres


async def test_variables_for_other_servers_do_not_keep_from_the_embedded_one(postgres: EmbeddedPostgres, monkeypatch):
    for name, value in (
        *(("PGHOST", "nowhere.invalid"), ("PGPORT", "x"), ("PGSERVICE", "x"), ("PGOPTIONS", "-c x=y")),
        *(("PGTARGETSESSIONATTRS", "standby"), ("PGSSLNEGOTIATION", "direct"), ("PGSSLMODE", "verify-full")),
    ):
        monkeypatch.setenv(name, value)
    connection = await Primary(postgres.url).connect()
    assert await connection.fetchval("SELECT 1") == 1
    connection.terminate()


async def test_of_equals_the_first_of_the_url_is_used_and_then_the_one_that_was_used_last(postgres: EmbeddedPostgres):
    """Between two that are not one cluster any more nothing changes over without need: what is new is on one alone."""
    socket_path = str(postgres.socket_path)
    async with open_proxy(socket_path) as first, open_proxy(socket_path) as second:
        primary = Primary(url_of(first, second))
        assert await connect(primary, first, second) is first
        first.cut()
        assert await connect(primary, first, second) is second
        first.restore()
        assert await connect(primary, first, second) is second
