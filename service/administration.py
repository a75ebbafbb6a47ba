"""What an operator does beside a running server: make accounts, close them, mint tokens, say that it was restored.

Works on the database of the settings, or on the embedded one of a server that runs on the data directory.
"""

import secrets
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from service.auth import fields
from service.auth.accounts import USER_TOKEN_LIFE
from service.auth.key_ring import KeysError
from service.auth.keys import load_keys
from service.auth.passwords import Passwords
from service.auth.tokens import MAX_LIFE_SECONDS, TokenIssuer
from service.calls import SCOPES
from service.checks import to_device_id, to_usernames
from service.config import Secret, Settings
from service.config_text import mask_url
from service.errors import InvalidRequest
from service.loading import load
from service.preparation import keys_path
from service.start_error import StartError
from storage.embedded import EmbeddedPostgres
from storage.errors import Absent, Conflict, StorageError
from storage.postgres.accounts import Accounts
from storage.postgres.database import Database
from storage.postgres.restores import Restores

_MAX_NAMES = 100_000


def open_settings(flags: Mapping[str, object], config_file: Path | None) -> Settings:
    """Returns the settings with a database URL: the configured one, or that of the running embedded PostgreSQL.

    Raises:
        ConfigError: the settings are wrong.
        StartError: there is no database that runs.
    """
    settings = load(flags, config_file=config_file).settings
    if settings.database.url is not None:
        return settings
    server = EmbeddedPostgres(settings.data_dir)
    if not server.answers():
        raise StartError(
            f"no server runs on the data directory {server.data_dir}: start it (`parley serve`), or name another one"
            " with --data-dir, or another database in PARLEY_DATABASE_URL"
        )
    return replace(settings, database=replace(settings.database, url=Secret(server.url)))


async def create_users(
    settings: Settings, names: Sequence[str], password: str | None, *, exist_ok: bool = False
) -> list[str]:
    """Makes accounts; those without a password log in by minted tokens alone. Returns the names that were made.

    Raises:
        StartError: a name is not legal, or was given before and not `exist_ok` (then none is made), or the database
            fails.
    """
    usernames = _to_usernames(names)
    password_hash = None
    if password is not None:
        try:
            password = fields.to_new_password(password)
        except InvalidRequest as error:
            raise StartError(str(error)) from None
        passwords = Passwords(threads=1)
        password_hash = await passwords.hash(password)
        passwords.close()
    async with _accounts(settings) as accounts:
        taken = set(await accounts.find_users(usernames))
        usernames = [name for name in usernames if name not in taken]
        if taken and not exist_ok:
            raise StartError(f"the name is or was somebody's: {', '.join(sorted(taken)[:20])}")
        if password_hash is None:
            await accounts.create_users(usernames)
        else:
            for username in usernames:
                await accounts.create_user(username, password_hash=password_hash)
    return usernames


async def set_disabled(settings: Settings, names: Sequence[str], *, is_disabled: bool) -> list[str]:
    """Shuts accounts out and ends their logins, or lets them in again. Returns the names as they are kept.

    Running servers notice within seconds.

    Raises:
        StartError: there is no such account; those before it are done.
    """
    usernames = _to_usernames(names)
    async with _accounts(settings) as accounts:
        for username in usernames:
            try:
                if is_disabled:
                    await accounts.disable_user(username, clock=lambda: datetime.now(UTC), token_life=USER_TOKEN_LIFE)
                else:
                    await accounts.enable_user(username)
            except Absent:
                raise StartError(f"there is no account {username}") from None
    return usernames


async def mint_tokens(
    settings: Settings,
    names: Sequence[str],
    *,
    life_seconds: float | None,
    device_id: str,
    scopes: Sequence[str] = (),
    for_services: bool = False,
) -> dict[str, str]:
    """Makes an access token for each account; belongs to no login, and ends early only when the account is closed.

    Args:
        for_services: refuse accounts with a password. Whoever registered under a service's name before it came would
            read along and speak for it.

    Raises:
        StartError: a name has no account that is open, the keys can't be used, or a value is out of its range.
    """
    usernames = _to_usernames(names)
    if life_seconds is not None and not 0 < life_seconds <= MAX_LIFE_SECONDS:
        raise StartError(f"--ttl takes seconds above 0 up to {MAX_LIFE_SECONDS}")
    if unknown := sorted(set(scopes) - SCOPES):
        raise StartError(f"--scope takes {', '.join(sorted(SCOPES))}, not {unknown[0]}")
    try:
        device_id = to_device_id(device_id, "--device")
        keys = load_keys(keys_path(settings))
    except (InvalidRequest, KeysError) as error:
        raise StartError(str(error)) from None
    async with _accounts(settings) as accounts:
        found = await accounts.find_users(usernames)
    closed = [
        name
        for name in usernames
        if name not in found or found[name].delete_time is not None or found[name].disable_time is not None
    ]
    if closed:
        raise StartError(f"there is no open account: {', '.join(closed[:20])} (`parley user create` makes one)")
    if for_services and (people := [name for name in usernames if found[name].password_hash is not None]):
        raise StartError(
            f"somebody has a password for {', '.join(people[:20])}: take another name for the service, or leave out"
            " --service if that is meant"
        )
    auth = settings.auth
    issuer = TokenIssuer(keys, issuer=auth.issuer, audience=auth.audience, life_seconds=auth.access_token_seconds)
    now = time.time()
    return {
        name: issuer.mint(
            name,
            login_id=f"minted-{secrets.token_hex(8)}",
            device_id=device_id,
            now=now,
            life_seconds=life_seconds,
            scopes=scopes,
        ).text
        for name in usernames
    }


async def begin_epoch(settings: Settings) -> int:
    """Says that the database came back in an earlier state; returns the number of the epoch that begins.

    Running servers notice within seconds.

    Raises:
        StartError: the database fails.
    """
    async with _database(settings) as database:
        return await Restores(database).begin_epoch()


def _to_usernames(names: Sequence[str]) -> list[str]:
    try:
        return to_usernames(list(names), "names", max_count=_MAX_NAMES, min_count=1)
    except InvalidRequest as error:
        raise StartError(str(error)) from None


@asynccontextmanager
async def _accounts(settings: Settings) -> AsyncIterator[Accounts]:
    try:
        async with _database(settings) as database:
            yield Accounts(database)
    except Conflict as error:
        raise StartError(f"the name is or was somebody's: {error}") from None


@asynccontextmanager
async def _database(settings: Settings) -> AsyncIterator[Database]:
    assert settings.database.url is not None
    url = settings.database.url.reveal()
    database = Database(url, schema=settings.database.db_schema, command_timeout_seconds=60.0)
    try:
        await database.open()
        try:
            yield database
        finally:
            await database.close()
    except Conflict:
        raise
    except StorageError as error:
        raise StartError(f"the database at {mask_url(url)} failed: {error}") from None
