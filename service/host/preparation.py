"""What is made ready before workers serve: signing keys, the schema, and settings that leave nothing open.

Each raises StartError with one line for the operator.
"""

import asyncio
import time
from dataclasses import replace
from pathlib import Path

import asyncpg
import structlog

from service.auth.key_ring import KeysError
from service.auth.keys import ensure_keys_file, load_keys
from service.settings.start_error import StartError
from service.settings.tree import Secret, Settings
from storage.errors import Lasting, MigrationError, Unavailable
from storage.postgres.connections.target import read_dropped
from storage.postgres.schema.migrate import migrate
from storage.urls import mask_url

# A database that is given by URL may be starting beside us; it is waited for this long.
_DATABASE_SECONDS = 30.0
_RETRY_SECONDS = 1.0

_log = structlog.get_logger(__name__)


def resolve(
    settings: Settings, *, listen: str, metrics_listen: str, database_url: str | None, redis_url: str | None
) -> Settings:
    """Returns the settings with nothing left open: addresses, URLs and paths as workers use them.

    Args:
        database_url: of the embedded PostgreSQL; None: the one in the settings stays, as for `redis_url`.
    """
    database, redis = settings.database, settings.redis
    if database_url is not None:
        database = replace(database, url=Secret(database_url))
    if redis_url is not None:
        redis = replace(redis, url=Secret(redis_url))
    return replace(
        settings,
        listen=listen,
        metrics=replace(settings.metrics, listen=metrics_listen),
        database=database,
        redis=redis,
        auth=replace(settings.auth, keys_file=keys_path(settings)),
    )


def keys_path(settings: Settings) -> Path:
    """Returns where the signing keys are."""
    return settings.auth.keys_file or settings.data_dir / "keys.json"


def ensure_keys(settings: Settings) -> None:
    """Makes the signing key at the first start; a keys file that the settings name must be there."""
    path = keys_path(settings)
    try:
        if settings.auth.keys_file is None and ensure_keys_file(path):
            _log.info("made a signing key", path=str(path))
        load_keys(path)
    except KeysError as error:
        raise StartError(str(error)) from None


def _log_dropped(url: str) -> None:
    for name, why, is_less in read_dropped(url):
        log = _log.warning if is_less else _log.info
        log("a parameter of the database's URL has no effect", parameter=name, why=why)


def bring_up_to_date(settings: Settings) -> list[str]:
    """Runs the migrations that are missing, and returns their names; waits a while for a database that is starting."""
    database = settings.database
    assert database.url is not None
    url = database.url.reveal()
    where = mask_url(url)
    deadline = time.monotonic() + _DATABASE_SECONDS
    told = ""
    _log_dropped(url)
    while True:
        try:
            return asyncio.run(
                migrate(url, schema=database.db_schema, allows_weak_durability=database.allow_weak_durability)
            )
        except (Lasting, MigrationError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
            raise StartError(f"can't use PostgreSQL at {where}: {_to_line(error)}") from None
        except Unavailable as error:
            if time.monotonic() > deadline:
                raise StartError(
                    f"PostgreSQL at {where} is not ready after {_DATABASE_SECONDS:.0f} s: {_to_line(error)}"
                ) from None
            if str(error) != told:
                told = str(error)
                _log.warning("waiting for PostgreSQL", url=where, error=told, seconds=_DATABASE_SECONDS)
            time.sleep(_RETRY_SECONDS)


def _to_line(error: Exception) -> str:
    return " ".join(str(error).split())
