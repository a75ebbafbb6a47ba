"""Logins and devices: listed, ended, forgotten."""

from collections.abc import Sequence
from datetime import timedelta
from functools import partial

from service.cli.admin.opening import open_database, to_name
from service.cli.admin.users import get_users, now
from service.domain.checks import to_device_id
from service.domain.errors import InvalidRequest
from service.settings.start_error import StartError
from service.settings.tree import Settings
from storage.postgres.accounts.accounts import Accounts
from storage.postgres.accounts.views import AccountViews, DeviceRow, LoginRow
from storage.postgres.connections.lock_waits import retry_while_locked
from storage.postgres.devices.device_removal import RemovedDevice, delete_device

# The longest `auth.access_token_seconds` that there is, and a minute since clocks differ: a server may have other
# settings than the command.
LOGIN_TOKEN_LIFE = timedelta(seconds=86_400 + 60)


async def list_logins(settings: Settings, name: str) -> list[LoginRow]:
    """Lists the logins of an account that are in force.

    Raises:
        StartError: there is no such account.
    """
    username = to_name(name)
    async with open_database(settings) as database:
        await get_users(Accounts(database), [username])
        return await AccountViews(database).list_logins(username)


async def end_logins(settings: Settings, login_ids: Sequence[str]) -> dict[str, bool]:
    """Ends logins, with their tokens and streams.

    Returns:
        For each id whether it was ended now; others had ended before.

    Raises:
        StartError: one of them is no login; then none is ended.
    """
    async with open_database(settings) as database:
        found = await AccountViews(database).find_logins(list(login_ids))
        if unknown := [login_id for login_id in login_ids if login_id not in found]:
            raise StartError(f"there is no login {', '.join(unknown[:20])}: `parley login list NAME` shows their ids")
        accounts = Accounts(database)
        ended = {}
        for login_id in dict.fromkeys(login_ids):
            end = partial(accounts.end_login, login_id, now=now(), token_life=LOGIN_TOKEN_LIFE)
            ended[login_id] = await retry_while_locked(end) is not None
    return ended


async def list_devices(settings: Settings, name: str) -> list[DeviceRow]:
    """Lists the devices of an account that keep positions.

    Raises:
        StartError: there is no such account.
    """
    username = to_name(name)
    async with open_database(settings) as database:
        await get_users(Accounts(database), [username])
        return await AccountViews(database).list_devices(username)


async def remove_device(settings: Settings, name: str, device_id: str) -> RemovedDevice:
    """Forgets a device: its logins end, its positions and what it did not settle go.

    Raises:
        StartError: there is no such account, or it has no such device; then nothing is changed.
    """
    username = to_name(name)
    try:
        device_id = to_device_id(device_id)
    except InvalidRequest as error:
        raise StartError(str(error)) from None
    async with open_database(settings) as database:
        await get_users(Accounts(database), [username])
        removed = await delete_device(database, username, device_id, clock=now, token_life=LOGIN_TOKEN_LIFE)
    if removed is None:
        raise StartError(f"{username} has no device {device_id}: `parley device list {username}` shows them")
    return removed
