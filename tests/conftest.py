"""Fixtures that every folder shares: the servers (once a run) and databases (a schema each)."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from storage.postgres.connections.database import Database
from tests.support.databases import Backends, fresh_schema, open_database, running_backends
from tests.support.servers import RunningServer, running_server

# The servers are on this machine, also where the others are behind a proxy; what tests start inherits it.
for _name in ("no_proxy", "NO_PROXY"):
    os.environ[_name] = ",".join(["127.0.0.1", "::1", "localhost", *filter(None, [os.environ.get(_name)])])

# How long an example takes is the machine's affair: pytest's time limit is the one that counts.
settings.register_profile("parley", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("parley")

# Folders whose files take longest. They are begun first, or the run would end with one process that works.
_LONGEST = ("install", "docs", "bench", "ops", "clients", "metrics")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the longest folders first; within each the order stays."""
    root = Path(__file__).parent
    items.sort(key=lambda item: item.path.relative_to(root).parts[0] not in _LONGEST)


@pytest.fixture(scope="session")
def backends() -> Iterator[Backends]:
    """The embedded PostgreSQL and Valkey of this run."""
    with running_backends() as running:
        yield running


@pytest.fixture(scope="session")
def postgres_url(backends: Backends) -> str:
    """Where PostgreSQL is; use a schema of your own there (`database`, `fresh_schema`)."""
    return backends.postgres.url


@pytest.fixture(scope="session")
def redis_url(backends: Backends) -> str:
    """Where Valkey is; use keys and channels of your own there (a deployment id)."""
    return backends.valkey.url


@pytest.fixture(scope="module")
async def module_database(postgres_url: str) -> AsyncIterator[Database]:
    """A pool on a migrated schema that the tests of a module share."""
    async with fresh_schema(postgres_url) as schema, open_database(postgres_url, schema) as opened:
        yield opened


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[Database]:
    """A pool on a migrated schema of this test alone."""
    async with fresh_schema(postgres_url) as schema, open_database(postgres_url, schema) as opened:
        yield opened


@pytest.fixture(scope="session")
def server() -> Iterator[RunningServer]:
    """A real `parley serve` with two workers, on databases of its own; shared, so use names of your own."""
    with running_server(workers=2, settings={"PARLEY_AUTH_ATTEMPTS_PER_MINUTE_PER_ADDRESS": "1000000"}) as running:
        yield running
        running.stop()
    unforeseen = [line for line in running.output if '"level": "error"' in line]
    assert not unforeseen, "\n".join(unforeseen)
