"""Accounts: made, shut out, let in again, given another password, logged out, listed, shown."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from functools import partial

from service.auth import fields
from service.auth.accounts import USER_TOKEN_LIFE
from service.auth.passwords import Passwords
from service.cli.admin.opening import open_database, to_name, to_names
from service.domain.errors import InvalidRequest
from service.settings.start_error import StartError
from service.settings.tree import Settings
from storage.errors import Conflict
from storage.postgres.accounts.accounts import Accounts
from storage.postgres.accounts.views import AccountViews, UserRow, UserState, UserSummary
from storage.postgres.connections.lock_waits import retry_while_locked
from storage.records import User


async def create_users(
    settings: Settings, names: Sequence[str], password: str | None, *, exist_ok: bool = False
) -> dict[str, bool]:
    """Makes accounts; those without a password log in by minted tokens alone.

    Returns:
        For each name whether its account was made; with `exist_ok`, others were left as they are.

    Raises:
        StartError: a name is not legal, was deleted, or is somebody's and not `exist_ok`; or the database fails. Then
            no account was made.
    """
    usernames = to_names(names)
    password_hash = None if password is None else await hash_password(password)
    async with open_database(settings) as database:
        accounts = Accounts(database)
        taken = await accounts.find_users(usernames)
        _refuse_deleted(list(taken.values()))
        if taken and not exist_ok:
            raise StartError(f"the name is somebody's: {', '.join(sorted(taken)[:20])}")
        try:
            made = set(await accounts.create_users(usernames, password_hash=password_hash, all_new=not exist_ok))
        except Conflict:  # since that was looked at
            raise StartError("one of the names is somebody's by now; no account was made") from None
    return {username: username in made for username in usernames}


async def hash_password(password: str) -> str:
    """Returns the hash of a password that an account may get.

    Raises:
        StartError: the password is out of its range.
    """
    try:
        password = fields.to_new_password(password)
    except InvalidRequest as error:
        raise StartError(str(error)) from None
    passwords = Passwords(threads=1)
    try:
        return await passwords.hash(password)
    finally:
        passwords.close()


async def set_disabled(settings: Settings, names: Sequence[str], *, is_disabled: bool) -> list[str]:
    """Shuts accounts out and ends their logins, or lets them in again. Returns the names as they are kept.

    Running servers notice within seconds.

    Raises:
        StartError: one of them has no account; then nothing is changed.
    """
    usernames = to_names(names)
    async with open_database(settings) as database:
        accounts = Accounts(database)
        await get_users(accounts, usernames)
        for username in usernames:
            if is_disabled:
                await retry_while_locked(
                    partial(accounts.disable_user, username, clock=now, token_life=USER_TOKEN_LIFE)
                )
            else:
                await retry_while_locked(partial(accounts.enable_user, username))
    return usernames


async def set_password(settings: Settings, name: str, password: str) -> bool:
    """Sets the password of an account and ends its logins; says whether the account had a password before.

    Raises:
        StartError: there is no such account, or the password is out of its range; then nothing is changed.
    """
    username = to_name(name)
    async with open_database(settings) as database:
        accounts = Accounts(database)
        (user,) = await get_users(accounts, [username])
        password_hash = await hash_password(password)
        await retry_while_locked(
            partial(accounts.set_password, username, password_hash, clock=now, token_life=USER_TOKEN_LIFE)
        )
    return user.password_hash is not None


async def check_account(settings: Settings, name: str) -> None:
    """Passes a name that has an account; asked before a terminal is asked for a password.

    Raises:
        StartError: there is no such account, or it was deleted.
    """
    async with open_database(settings) as database:
        await get_users(Accounts(database), [to_name(name)])


async def log_out(settings: Settings, names: Sequence[str]) -> list[str]:
    """Ends all logins of accounts, with all their tokens, minted ones too. Returns the names as they are kept.

    Raises:
        StartError: one of them has no account; then nothing is changed.
    """
    usernames = to_names(names)
    async with open_database(settings) as database:
        accounts = Accounts(database)
        await get_users(accounts, usernames)
        for username in usernames:
            await retry_while_locked(partial(accounts.end_logins, username, clock=now, token_life=USER_TOKEN_LIFE))
    return usernames


async def list_users(
    settings: Settings, *, prefix: str, state: UserState | None, after: str, limit: int | None
) -> AsyncIterator[UserRow]:
    """Lists accounts by name, page by page, so that memory stays small however many there are.

    Args:
        prefix: what names begin with; "": all.
        state: those alone; None: all.
        after: names above this one alone; "": from the first.
        limit: accounts at most; None: all.
    """
    async with open_database(settings) as database:
        async for row in AccountViews(database).iter_users(prefix=prefix, state=state, after=after, limit=limit):
            yield row


async def get_summary(settings: Settings, name: str) -> UserSummary:
    """Reads what there is of an account; of a deleted one too.

    Raises:
        StartError: there never was such an account.
    """
    username = to_name(name)
    async with open_database(settings) as database:
        summary = await AccountViews(database).find_summary(username)
    if summary is None:
        raise StartError(f"there is no account {username}")
    return summary


async def get_users(accounts: Accounts, usernames: Sequence[str]) -> list[User]:
    """Reads accounts that are there.

    Raises:
        StartError: one is missing, or was deleted.
    """
    found = await accounts.find_users(usernames)
    if missing := [username for username in usernames if username not in found]:
        raise StartError(f"there is no account {', '.join(missing[:20])}")
    users = [found[username] for username in usernames]
    _refuse_deleted(users)
    return users


def now() -> datetime:
    """Returns the present, for what ends logins."""
    return datetime.now(UTC)


def _refuse_deleted(users: Sequence[User]) -> None:
    if deleted := [user.username for user in users if user.delete_time is not None]:
        raise StartError(f"{', '.join(deleted[:20])} was deleted; a name is never given twice")
