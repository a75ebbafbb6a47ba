"""What people do with accounts: register, log in, keep a login alive, end it, change themselves, go.

Each method checks what is cheap, then the limits, then does what is dear (Argon2), then stores, and announces ends of
logins after the commit. How tokens and hashes look is in the neighbours; nothing here knows gRPC.

The time of an access token (`iat`) is taken after the password was checked and before its login is stored or exchanged.
So what ends logins earlier is earlier than the token, and what ends them later is later (the statements in
`storage/postgres/accounts/accounts.py` do their part).
"""

import contextlib
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from service.auth import fields, refresh_tokens
from service.auth.attempts import Attempts
from service.auth.passwords import Passwords
from service.auth.refresh_tokens import RefreshTokens
from service.auth.refusals import RefusalLog
from service.auth.signer import TokenSigner
from service.auth.tokens import MAX_LIFE_SECONDS
from service.domain.call import Call
from service.domain.checks import to_device_id, to_request_id, to_username
from service.domain.errors import (
    BadCredentials,
    Overloaded,
    RateLimited,
    RegistrationClosed,
    TokenExpired,
    TokenInvalid,
    UserDisabled,
    UsernameTaken,
    UserNotFound,
)
from service.domain.times import micros_of, to_time
from storage.errors import Absent, Conflict
from storage.postgres.accounts.accounts import Accounts
from storage.records import Login, Revocation, User

# How long the end of all tokens of a user has to be known: minted ones can live long.
USER_TOKEN_LIFE = timedelta(seconds=MAX_LIFE_SECONDS)
# Added to a token's life where the end of its login is kept: clocks differ.
_SPARE_SECONDS = 60


@dataclass(frozen=True, slots=True, repr=False)
class Grant:
    """The tokens of a login. Has no repr that could show them in a log."""

    user: User
    device_id: str
    access_token: str
    access_expire_time: datetime
    refresh_token: str
    refresh_expire_time: datetime


@dataclass(slots=True)
class _About:
    """Whose account an attempt is about, as soon as that is known."""

    user: User | None = None


class AccountService:
    """The account calls.

    Args:
        leave_all: takes a user out of all groups; safe to call again.
        announce_revocation: tells this worker and the others, without waiting; what gets lost is found by polling.
        is_registration_open: whether Register makes accounts.
        refresh_token_seconds: the life of a refresh token, from its exchange.
        clock: Unix seconds.
    """

    def __init__(
        self,
        accounts: Accounts,
        *,
        passwords: Passwords,
        attempts: Attempts,
        signer: TokenSigner,
        refresh_tokens: RefreshTokens,
        leave_all: Callable[[str], Awaitable[object]],
        announce_revocation: Callable[[Revocation], None],
        is_registration_open: bool,
        refresh_token_seconds: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._accounts = accounts
        self._passwords = passwords
        self._attempts = attempts
        self._signer = signer
        self._refresh_tokens = refresh_tokens
        self._leave_all = leave_all
        self._announce = announce_revocation
        self._is_registration_open = is_registration_open
        self._refresh_life = timedelta(seconds=refresh_token_seconds)
        self._login_token_life = timedelta(seconds=signer.life_seconds + _SPARE_SECONDS)
        self._clock = clock
        self._refusals = RefusalLog()

    def limit(self, *, per_account_per_minute: int, per_address_per_minute: int, is_registration_open: bool) -> None:
        """Sets how often somebody may try, and whether Register makes accounts, from now on."""
        self._attempts.limit(
            per_account_per_minute=per_account_per_minute, per_address_per_minute=per_address_per_minute
        )
        self._is_registration_open = is_registration_open

    async def register(self, call: Call, *, username: str, password: str, display_name: str, device_id: str) -> Grant:
        """Makes an account and logs it in.

        Raises:
            RegistrationClosed: the operator makes accounts here.
            InvalidRequest: a field is out of its range.
            RateLimited: too many from the caller's address.
            UsernameTaken: the name is or was somebody's; said before the password is hashed, since it is no secret.
            Overloaded: too many passwords wait.
        """
        if not self._is_registration_open:
            raise RegistrationClosed
        username = to_username(username)
        password = fields.to_new_password(password)
        display_name = fields.to_display_name(display_name)
        device_id = to_device_id(device_id)
        self._attempts.check_address(call.address)
        if await self._accounts.find_user(username) is not None:
            raise UsernameTaken(username)
        password_hash = await self._passwords.hash(password)
        now = self._clock()
        login, refresh_token = self._new_login(username, device_id, now)
        try:
            user = await self._accounts.create_user(
                username, display_name=display_name, password_hash=password_hash, login=login
            )
        except Conflict:
            raise UsernameTaken(username) from None
        return self._grant(user, login, refresh_token, now)

    async def login(self, call: Call, *, username: str, password: str, device_id: str) -> Grant:
        """Logs in with a password.

        An unknown name, a deleted account, one without a password and a wrong password are alike, in what is said and
        in what is done: one Argon2 run.

        Raises:
            InvalidRequest: a field is out of its range.
            RateLimited: too many attempts.
            BadCredentials: name and password do not match.
            UserDisabled: they do, and the account is disabled.
            Overloaded: too many passwords wait.
        """
        username = to_username(username)
        password = fields.to_password(password)
        device_id = to_device_id(device_id)
        # Whoever stores another hash of the password just now (`_rehash`) makes the first try fail.
        grant = await self._try_login(call, username, password, device_id)
        grant = grant or await self._try_login(call, username, password, device_id)
        if grant is None:
            raise BadCredentials
        return grant

    async def refresh(self, *, refresh_token: str, request_id: str) -> Grant:
        """Exchanges a refresh token for the next pair; idempotent for 60 s by request_id.

        Raises:
            InvalidRequest: the request_id is out of its range.
            TokenInvalid: the token is none of ours, or its login has ended; or it was exchanged before, which ends it.
            TokenExpired: the token's time is over.
            UserDisabled: an operator disabled the account.
        """
        request_id = to_request_id(request_id)
        login_id = self._refresh_tokens.login_id_of(refresh_token)
        successor = self._refresh_tokens.successor(refresh_token, request_id)
        now = self._clock()
        login = await self._accounts.exchange(
            login_id,
            refresh_tokens.hash_of(refresh_token),
            refresh_tokens.hash_of(successor),
            request_id=request_id,
            now=to_time(now),
            expire_time=to_time(now) + self._refresh_life,
        )
        if login is None:
            login = await self._repeat(login_id, refresh_tokens.hash_of(refresh_token), request_id, to_time(now))
        user = await self._accounts.get_user(login.username)
        return self._grant(user, login, successor, now)

    async def logout(self, *, refresh_token: str) -> None:
        """Ends the token's login; idempotent.

        Raises:
            TokenInvalid: the token is none of ours.
        """
        await self._end_login(self._refresh_tokens.login_id_of(refresh_token))

    async def get_user(self, call: Call, *, username: str) -> User:
        """Reads an account, by default the caller's; a tombstone too.

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
        """Changes what is given of the caller's profile; idempotent.

        Raises:
            InvalidRequest: a field is out of its range.
            UserNotFound: the caller has no account.
        """
        if display_name is not None:
            display_name = fields.to_display_name(display_name)
        if avatar_uri is not None:
            avatar_uri = fields.to_avatar_uri(avatar_uri)
        username = call.caller.username
        try:
            return await self._accounts.update_profile(username, display_name=display_name, avatar_uri=avatar_uri)
        except Absent:
            raise UserNotFound(username) from None

    async def change_password(self, call: Call, *, old_password: str, new_password: str) -> Grant:
        """Sets the caller's password, ends all logins and makes a new one on the same device.

        Raises:
            InvalidRequest: a password is out of its range.
            RateLimited: too many attempts.
            BadCredentials: the old password is not in force, or the account has none.
            Overloaded: too many passwords wait.
        """
        old_password = fields.to_password(old_password, "old_password")
        new_password = fields.to_new_password(new_password, "new_password")
        username = call.caller.username
        with self._noted("password change", call) as about:
            self._check_attempts(call, username)
            user = about.user = await self._accounts.find_user(username)
            old_hash = await self._check_password(username, user, old_password)
        assert user is not None  # nobody's password is never right
        new_hash = await self._passwords.hash(new_password)
        login, refresh_token = self._new_login(username, call.caller.device_id, self._clock())
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
        return self._grant(user, login, refresh_token, just_after)

    async def delete_account(self, call: Call, *, password: str) -> None:
        """Deletes the caller's account for good; the user leaves all groups.

        Safe to repeat where it failed: the account goes last.

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
        await self._leave_all(username)  # what the user was put into meanwhile

    async def _try_login(self, call: Call, username: str, password: str, device_id: str) -> Grant | None:
        """Logs in; None when the account was changed between the check of the password and the login's storing."""
        with self._noted("login", call) as about:
            self._check_attempts(call, username)
            user = about.user = await self._accounts.find_user(username)
            password_hash = await self._check_password(username, user, password)
            assert user is not None  # nobody's password is never right
            if user.disable_time is not None:
                raise UserDisabled
        password_hash = await self._rehash(username, password, password_hash)
        now = self._clock()
        login, refresh_token = self._new_login(username, device_id, now)
        if not await self._accounts.create_login(login, password_hash=password_hash):
            return None
        return self._grant(user, login, refresh_token, now)

    @contextlib.contextmanager
    def _noted(self, what: str, call: Call) -> Iterator[_About]:
        """Has a refusal inside noted in the log, with the account that the caller of this says it is about."""
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
        """Returns the hash in force: a new one, where the old one's parameters are not today's."""
        if not self._passwords.needs_rehash(password_hash):
            return password_hash
        with contextlib.suppress(Overloaded):  # the next login will do it
            new_hash = await self._passwords.hash(password)
            if await self._accounts.replace_password_hash(username, password_hash, new_hash):
                return new_hash
        return password_hash

    async def _repeat(self, login_id: str, token_hash: bytes, request_id: str, now: datetime) -> Login:
        """Judges a token that could not be exchanged: the login, if its last exchange is asked for again."""
        login = await self._accounts.find_login(login_id)
        if login is None:
            raise TokenInvalid("The refresh token is not accepted: its login is over; log in again.")
        if login.end_time is not None:
            user = await self._accounts.get_user(login.username)
            if user.disable_time is not None and user.delete_time is None:
                raise UserDisabled
            raise TokenInvalid("The refresh token is not accepted: its login has ended; log in again.")
        if login.expire_time <= now:
            raise TokenExpired
        if refresh_tokens.is_repeat(login, token_hash, request_id, now):
            return login
        await self._end_login(login_id)
        refusal = TokenInvalid("The refresh token was used before, so its login has been ended; log in again.")
        self._refusals.note("refresh", refusal, username=login.username)
        raise refusal

    async def _end_login(self, login_id: str) -> None:
        revocation = await self._accounts.end_login(login_id, now=self._time(), token_life=self._login_token_life)
        if revocation is not None:
            self._announce(revocation)

    def _new_login(self, username: str, device_id: str, now: float) -> tuple[Login, str]:
        login_id = refresh_tokens.new_login_id()
        refresh_token = self._refresh_tokens.first(login_id)
        login = Login(
            login_id=login_id,
            username=username,
            device_id=device_id or f"device-{secrets.token_hex(8)}",
            refresh_hash=refresh_tokens.hash_of(refresh_token),
            previous_hash=None,
            previous_request=None,
            exchange_time=None,
            expire_time=to_time(now) + self._refresh_life,
            end_time=None,
        )
        return login, refresh_token

    def _grant(self, user: User, login: Login, refresh_token: str, now: float) -> Grant:
        access = self._signer.mint(user.username, login_id=login.login_id, device_id=login.device_id, now=now)
        return Grant(
            user=user,
            device_id=login.device_id,
            access_token=access.text,
            access_expire_time=to_time(access.expire_time),
            refresh_token=refresh_token,
            refresh_expire_time=login.expire_time,
        )

    def _time(self) -> datetime:
        return to_time(self._clock())
