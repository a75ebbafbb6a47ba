"""The account calls: register, log in, change the profile or the password, delete the account.

Each method does the cheap checks first, then the limits, then the expensive part (Argon2). Then it stores, and
announces the end of logins after the commit. What happens with a login afterwards is in `logins.py`.

The `iat` of an access token is taken after the password was checked and before the login is stored or exchanged. So a
revocation that is stored before the login is earlier than the token, and a later revocation is later than the token.
The statements in `storage/postgres/accounts/accounts.py` rely on this order.
"""

import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from service.auth import fields
from service.auth.attempts import Attempts
from service.auth.logins import Grant, Logins
from service.auth.passwords import Passwords
from service.auth.refusals import RefusalLog
from service.auth.tokens import MAX_LIFE_SECONDS
from service.domain.call import Call
from service.domain.checks import to_device_id, to_username
from service.domain.errors import (
    BadCredentials,
    Overloaded,
    RateLimited,
    RegistrationClosed,
    UserDisabled,
    UsernameTaken,
    UserNotFound,
)
from service.domain.field_checks import FieldChecks
from service.domain.times import micros_of, to_time
from storage.errors import Absent, Conflict
from storage.postgres.accounts.accounts import Accounts
from storage.records import Revocation, User

# How long a revocation of all tokens of a user is kept: tokens of `parley token` can live this long.
USER_TOKEN_LIFE = timedelta(seconds=MAX_LIFE_SECONDS)


@dataclass(slots=True)
class _About:
    """The account that an attempt is about; None until it was read, or where there is none."""

    user: User | None = None


class AccountService:
    """The account calls.

    Args:
        logins: creates the login of a registration, a login, or a changed password.
        refusals: the log of refusals.
        leave_all: takes a user out of all groups; safe to call again.
        announce_revocation: applies it on this worker and publishes it to the others, without waiting. Other workers
            find a lost one by polling.
        is_registration_open: whether Register makes accounts.
        clock: Unix seconds.
    """

    def __init__(
        self,
        accounts: Accounts,
        *,
        passwords: Passwords,
        attempts: Attempts,
        logins: Logins,
        refusals: RefusalLog,
        leave_all: Callable[[str], Awaitable[object]],
        announce_revocation: Callable[[Revocation], None],
        is_registration_open: bool,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._accounts = accounts
        self._passwords = passwords
        self._attempts = attempts
        self._logins = logins
        self._refusals = refusals
        self._leave_all = leave_all
        self._announce = announce_revocation
        self._is_registration_open = is_registration_open
        self._clock = clock

    def limit(self, *, per_account_per_minute: int, per_address_per_minute: int, is_registration_open: bool) -> None:
        """Sets the limits of attempts, and whether Register makes accounts, from now on."""
        self._attempts.limit(
            per_account_per_minute=per_account_per_minute, per_address_per_minute=per_address_per_minute
        )
        self._is_registration_open = is_registration_open

    async def register(self, call: Call, *, username: str, password: str, display_name: str, device_id: str) -> Grant:
        """Creates an account and logs it in.

        Raises:
            RegistrationClosed: only the operator creates accounts.
            InvalidRequest: a field is out of its range.
            RateLimited: too many attempts from the caller's address.
            UsernameTaken: an account has or had the name. This is no secret, so it is checked before the hashing.
            Overloaded: too many passwords wait.
        """
        if not self._is_registration_open:
            raise RegistrationClosed
        with FieldChecks() as check:
            username = check(to_username, username)
            password = check(fields.to_new_password, password)
            display_name = check(fields.to_display_name, display_name)
            device_id = check(to_device_id, device_id)
        self._attempts.check_address(call.address)
        if await self._accounts.find_user(username) is not None:
            raise UsernameTaken(username)
        password_hash = await self._passwords.hash(password)
        now = self._clock()
        login, refresh_token = self._logins.create(username, device_id, now)
        try:
            user = await self._accounts.create_user(
                username, display_name=display_name, password_hash=password_hash, login=login
            )
        except Conflict:
            raise UsernameTaken(username) from None
        return self._logins.grant(user, login, refresh_token, now)

    async def login(self, call: Call, *, username: str, password: str, device_id: str) -> Grant:
        """Logs in with a password.

        An unknown name, a deleted account, an account without a password and a wrong password all take one Argon2 run
        and get the same error.

        Raises:
            InvalidRequest: a field is out of its range.
            RateLimited: too many attempts.
            BadCredentials: name and password do not match.
            UserDisabled: name and password match, and the account is disabled.
            Overloaded: too many passwords wait.
        """
        with FieldChecks() as check:
            username = check(to_username, username)
            password = check(fields.to_password, password)
            device_id = check(to_device_id, device_id)
        # A concurrent login that stores another hash of the password (`_rehash`) makes the first try fail.
        grant = await self._try_login(call, username, password, device_id)
        grant = grant or await self._try_login(call, username, password, device_id)
        if grant is None:
            raise BadCredentials
        return grant

    async def get_user(self, call: Call, *, username: str) -> User:
        """Returns an account, by default the caller's; also a deleted one.

        Raises:
            InvalidRequest: the name is not a legal one.
            UserNotFound: there never was such an account.
        """
        username = to_username(username) if username else call.caller.username
        user = await self._accounts.find_user(username)
        if user is None:
            raise UserNotFound(username)
        return user

    async def update_user(self, call: Call, *, display_name: str | None, avatar_uri: str | None) -> User:
        """Changes the fields of the caller's profile that are not None; idempotent.

        Raises:
            InvalidRequest: a field is out of its range.
            UserNotFound: the caller has no account.
        """
        with FieldChecks() as check:
            if display_name is not None:
                display_name = check(fields.to_display_name, display_name)
            if avatar_uri is not None:
                avatar_uri = check(fields.to_avatar_uri, avatar_uri)
        username = call.caller.username
        try:
            return await self._accounts.update_profile(username, display_name=display_name, avatar_uri=avatar_uri)
        except Absent:
            raise UserNotFound(username) from None

    async def change_password(self, call: Call, *, old_password: str, new_password: str) -> Grant:
        """Sets the caller's password, ends all logins, and creates a new login on the same device.

        Raises:
            InvalidRequest: a password is out of its range.
            RateLimited: too many attempts.
            BadCredentials: the old password is not in force, or the account has none.
            Overloaded: too many passwords wait.
        """
        with FieldChecks() as check:
            old_password = check(fields.to_password, old_password, "old_password")
            new_password = check(fields.to_new_password, new_password, "new_password")
        username = call.caller.username
        with self._noted("password change", call) as about:
            self._check_attempts(call, username)
            user = about.user = await self._accounts.find_user(username)
            old_hash = await self._check_password(username, user, old_password)
        assert user is not None  # nobody's password is never right
        new_hash = await self._passwords.hash(new_password)
        login, refresh_token = self._logins.create(username, call.caller.device_id, self._clock())
        try:
            revocation = await self._accounts.set_password(
                username,
                new_hash,
                old_hash=old_hash,
                login=login,
                clock=self._time,
                token_life=USER_TOKEN_LIFE,
            )
        except Absent:
            raise BadCredentials from None  # the password was changed, or the account closed, meanwhile
        self._announce(revocation)
        just_after = (micros_of(revocation.revoke_time) + 1) / 1e6
        return self._logins.grant(user, login, refresh_token, just_after)

    async def delete_account(self, call: Call, *, password: str) -> None:
        """Deletes the caller's account for good; the user leaves all groups.

        A failed call is safe to repeat: the account is deleted last.

        Raises:
            InvalidRequest: the password is out of its range.
            RateLimited: too many attempts.
            BadCredentials: the password is not in force, or one was given and the account has none.
            UserNotFound: the caller has no account.
            Overloaded: too many passwords wait.
        """
        password = fields.to_password(password)
        username = call.caller.username
        with self._noted("account deletion", call) as about:
            self._check_attempts(call, username)
            user = about.user = await self._accounts.find_user(username)
            if user is None or user.delete_time is not None:
                raise UserNotFound(username)
            if password or user.password_hash is not None:
                await self._check_password(username, user, password)
        await self._leave_all(username)
        try:
            revocation = await self._accounts.delete_user(username, clock=self._time, token_life=USER_TOKEN_LIFE)
        except Absent:
            raise UserNotFound(username) from None
        self._announce(revocation)
        await self._leave_all(username)  # groups that added the user meanwhile

    async def _try_login(self, call: Call, username: str, password: str, device_id: str) -> Grant | None:
        """Logs in. Returns None when the account changed after its password was checked; then nothing was stored."""
        with self._noted("login", call) as about:
            self._check_attempts(call, username)
            user = about.user = await self._accounts.find_user(username)
            password_hash = await self._check_password(username, user, password)
            assert user is not None  # nobody's password is never right
            if user.disable_time is not None:
                raise UserDisabled
        password_hash = await self._rehash(username, password, password_hash)
        now = self._clock()
        login, refresh_token = self._logins.create(username, device_id, now)
        if not await self._accounts.create_login(login, password_hash=password_hash):
            return None
        return self._logins.grant(user, login, refresh_token, now)

    @contextlib.contextmanager
    def _noted(self, what: str, call: Call) -> Iterator[_About]:
        """Logs a refusal that the block raises, with the account that the block has set by then."""
        about = _About()
        try:
            yield about
        except (BadCredentials, UserDisabled, RateLimited) as refusal:
            name = about.user.username if about.user is not None else None
            self._refusals.note(what, refusal, address=call.address, username=name)
            raise

    def _check_attempts(self, call: Call, username: str) -> None:
        self._attempts.check_address(call.address)
        self._attempts.check_account(username)

    async def _check_password(self, username: str, user: User | None, password: str) -> str:
        """Returns the account's hash if the password is right."""
        password_hash = None if user is None or user.delete_time is not None else user.password_hash
        if not await self._passwords.verify(password, password_hash):
            raise BadCredentials
        assert password_hash is not None  # nobody's password is never right
        self._attempts.give_back(username)
        return password_hash

    async def _rehash(self, username: str, password: str, password_hash: str) -> str:
        """Returns the hash in force: a new one, where the old one has other parameters than new hashes."""
        if not self._passwords.needs_rehash(password_hash):
            return password_hash
        with contextlib.suppress(Overloaded):  # the next login tries again
            new_hash = await self._passwords.hash(password)
            if await self._accounts.replace_password_hash(username, password_hash, new_hash):
                return new_hash
        return password_hash

    def _time(self) -> datetime:
        return to_time(self._clock())
