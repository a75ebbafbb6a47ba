"""What the supervisor makes ready before workers serve: transport, databases, schema, signing keys.

Each raises StartError with one line for the operator.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import asyncpg
import structlog
from pydantic import SecretStr

from service.auth.key_ring import KeysError
from service.auth.keys import ensure_keys_file, load_keys
from service.config import Settings, is_loopback, split_listen
from service.config_text import mask_url
from storage.embedded import EmbeddedError, EmbeddedPostgres, EmbeddedValkey
from storage.embedded.process import EmbeddedServer
from storage.errors import Unavailable
from storage.postgres.migrate import MigrationError, migrate

# A database that is given by URL may be starting beside us; it is waited for this long.
_DATABASE_SECONDS = 30.0
_RETRY_SECONDS = 1.0

_log = structlog.get_logger(__name__)


class StartError(Exception):
    """The server can't start; the text is one line for the operator."""


def check_transport(settings: Settings) -> None:
    """Refuses plaintext beyond loopback unless the settings allow it, and certificate files that can't be read."""
    tls = settings.tls
    for path in (tls.certificate_file, tls.key_file):
        if path is not None:
            try:
                path.expanduser().open("rb").close()
            except OSError as error:
                raise StartError(f"can't read the TLS file {path}: {error.strerror}") from None
    if tls.certificate_file is not None or is_loopback(split_listen(settings.listen)[0]):
        return
    if not tls.allow_plaintext:
        raise StartError(
            f"{settings.listen} can be reached from other machines and TLS is not set up: set tls.certificate_file and"
            " tls.key_file, or tls.allow_plaintext (PARLEY_TLS_ALLOW_PLAINTEXT=true) behind a proxy that ends TLS"
        )
    _log.warning(
        "serving without TLS beyond loopback: passwords and tokens can be read on the way", listen=settings.listen
    )


def start_embedded(settings: Settings, stack: ExitStack, check: Callable[[], None]) -> list[EmbeddedServer]:
    """Starts the embedded servers that stand in for URLs; their stop is pushed on the stack, PostgreSQL's last.

    Args:
        check: called while it waits; raises to end that.
    """
    servers: list[EmbeddedServer] = []
    if settings.database.url is None:
        servers.append(EmbeddedPostgres(settings.data_dir))
    if settings.redis.url is None:
        servers.append(EmbeddedValkey(settings.data_dir))
    try:
        for server in servers:
            stack.callback(server.stop)
        for server in reversed(servers):  # Valkey comes up while a first PostgreSQL makes its cluster
            check()
            server.spawn()
        for server in servers:
            server.wait(check=check)
    except EmbeddedError as error:
        raise StartError(str(error)) from None
    return servers


def resolve(settings: Settings, *, listen: str, metrics_listen: str, servers: list[EmbeddedServer]) -> Settings:
    """Returns the settings with nothing left open: addresses, URLs and paths as workers use them."""
    data_dir = settings.data_dir.expanduser().absolute()
    urls = {type(server): SecretStr(server.url) for server in servers}
    return settings.model_copy(
        update={
            "listen": listen,
            "data_dir": data_dir,
            "metrics": settings.metrics.model_copy(update={"listen": metrics_listen}),
            "database": settings.database.model_copy(update={"url": urls.get(EmbeddedPostgres, settings.database.url)}),
            "redis": settings.redis.model_copy(update={"url": urls.get(EmbeddedValkey, settings.redis.url)}),
            "auth": settings.auth.model_copy(update={"keys_file": keys_path(settings)}),
        }
    )


def keys_path(settings: Settings) -> Path:
    """Returns where the signing keys are."""
    return (settings.auth.keys_file or settings.data_dir / "keys.json").expanduser().absolute()


def ensure_keys(settings: Settings) -> None:
    """Makes the signing key at the first start; a keys file that the settings name must be there."""
    path = keys_path(settings)
    try:
        if settings.auth.keys_file is None and ensure_keys_file(path):
            _log.info("made a signing key", path=str(path))
        load_keys(path)
    except KeysError as error:
        raise StartError(str(error)) from None


def bring_up_to_date(settings: Settings, check: Callable[[], None] = lambda: None) -> list[str]:
    """Runs the migrations that are missing, and returns their names; waits a while for a database that is starting.

    Args:
        check: called while it waits; raises to end that.
    """
    assert settings.database.url is not None
    url = settings.database.url.get_secret_value()
    deadline = time.monotonic() + _DATABASE_SECONDS
    has_waited = False
    while True:
        check()
        try:
            return asyncio.run(migrate(url, schema=settings.database.db_schema))
        except Unavailable as error:
            if time.monotonic() > deadline:
                raise StartError(f"PostgreSQL at {mask_url(url)} does not answer: {error}") from None
            if not has_waited:
                _log.warning("waiting for PostgreSQL", url=mask_url(url), error=str(error))
            has_waited = True
            time.sleep(_RETRY_SECONDS)
        except (MigrationError, asyncpg.PostgresError, asyncpg.ClientConfigurationError, ValueError) as error:
            raise StartError(f"can't prepare PostgreSQL at {mask_url(url)}: {error}") from None
