"""A database whose waits for locks do not end by themselves, for tests in which someone waits on purpose.

With the server's limit of a quarter second, a machine that is slow for a moment would turn a wait into a refusal.
"""

import contextlib
from collections.abc import AsyncIterator

import pytest

from storage.postgres.connections.database import Database
from tests.support.databases import fresh_schema, open_database


@contextlib.asynccontextmanager
async def patient_database(postgres_url: str) -> AsyncIterator[Database]:
    """Opens a pool on a migrated schema of its own; statements still have their limit."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("storage.postgres.connections.database.LOCK_TIMEOUT_MS", 60_000)
        async with fresh_schema(postgres_url) as schema, open_database(postgres_url, schema) as opened:
            yield opened
