"""Makes access tokens without a login (`parley token`)."""

import secrets
import time
from collections.abc import Sequence

from service.auth.key_ring import KeysError
from service.auth.keys import load_keys
from service.auth.signer import TokenSigner
from service.auth.tokens import MAX_LIFE_SECONDS
from service.cli.admin.opening import open_database, to_names
from service.domain.call import SCOPES
from service.domain.checks import to_device_id
from service.domain.errors import InvalidRequest
from service.host.preparation import keys_path
from service.settings.start_error import StartError
from service.settings.tree import Settings
from storage.postgres.accounts.accounts import Accounts


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
        for_services: make the accounts that are missing, without a password, and refuse those with one. Whoever
            registered under a service's name before it came would read along and speak for it.

    Raises:
        StartError: a name has no account that is open, the keys can't be used, or a value is out of its range. Then no
            account was made.
    """
    usernames = to_names(names)
    if life_seconds is not None and not 0 < life_seconds <= MAX_LIFE_SECONDS:
        raise StartError(f"--ttl takes seconds above 0 up to {MAX_LIFE_SECONDS}")
    if unknown := sorted(set(scopes) - SCOPES):
        raise StartError(f"--scope takes {', '.join(sorted(SCOPES))}, not {unknown[0]}")
    try:
        device_id = to_device_id(device_id, "--device")
        keys = load_keys(keys_path(settings))
    except (InvalidRequest, KeysError) as error:
        raise StartError(str(error)) from None
    async with open_database(settings) as database:
        await _ensure_open(Accounts(database), usernames, for_services=for_services)
    auth = settings.auth
    signer = TokenSigner(keys, issuer=auth.issuer, audience=auth.audience, life_seconds=auth.access_token_seconds)
    now = time.time()
    return {
        name: signer.mint(
            name,
            login_id=f"minted-{secrets.token_hex(8)}",
            device_id=device_id,
            now=now,
            life_seconds=life_seconds,
            scopes=scopes,
        ).text
        for name in usernames
    }


async def _ensure_open(accounts: Accounts, usernames: Sequence[str], *, for_services: bool) -> None:
    """Refuses accounts that no token may be for; then makes those that a service lacks."""
    found = await accounts.find_users(usernames)
    for username, user in found.items():
        if user.delete_time is not None:
            raise StartError(f"{username} was deleted, and a name is never given twice: take another one")
        if user.disable_time is not None:
            raise StartError(f"there is no open account: {username} is disabled (`parley user enable` lets it in)")
    if for_services and (people := [name for name, user in found.items() if user.password_hash is not None]):
        raise StartError(
            f"somebody has a password for {', '.join(people[:20])}: take another name for the service, or leave out"
            " --service if that is meant"
        )
    missing = [username for username in usernames if username not in found]
    if missing and not for_services:
        raise StartError(f"there is no account {', '.join(missing[:20])}: `parley user create` makes it")
    await accounts.create_users(missing)
