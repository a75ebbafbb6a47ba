"""Fixtures for accounts and logins."""

from collections.abc import AsyncIterator, Callable

import pytest

from service.auth.passwords import Passwords
from storage.postgres.accounts.accounts import Accounts
from storage.postgres.connections.database import Database
from tests.auth.account_worker import Worker
from tests.auth.rings import Clock
from tests.support.patient import patient_database


@pytest.fixture(scope="module")
async def opened(postgres_url: str) -> AsyncIterator[Database]:
    async with patient_database(postgres_url) as database:
        yield database


@pytest.fixture
async def make_worker(opened: Database) -> AsyncIterator[Callable[..., Worker]]:
    await opened.execute("TRUNCATE users, logins, revocations")
    passwords = Passwords()
    clock = Clock()

    def make(**settings: object) -> Worker:
        return Worker(Accounts(opened), passwords, clock, **settings)  # type: ignore[arg-type]

    yield make
    passwords.close()


@pytest.fixture
def worker(make_worker: Callable[..., Worker]) -> Worker:
    return make_worker()
