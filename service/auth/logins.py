"""Logins: their tokens, the exchange of refresh tokens, and their end.

A login begins in `accounts.py`, after its password was checked. The formats of tokens are in `refresh_tokens.py` and
`tokens.py`.
"""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from service.auth import refresh_tokens
from service.auth.refresh_tokens import RefreshTokens
from service.auth.refusals import RefusalLog
from service.auth.signer import TokenSigner
from service.domain.checks import to_request_id
from service.domain.errors import TokenExpired, TokenInvalid, UserDisabled
from service.domain.times import to_time
from storage.postgres.accounts.accounts import Accounts
from storage.records import Login, Revocation, User

# A revocation of one login is kept for the life of an access token and this long, since clocks differ.
_SPARE_SECONDS = 60


@dataclass(frozen=True, slots=True, repr=False)
class Grant:
    """The tokens of a login. The class has no repr, so that no log shows them."""

    user: User
    device_id: str
    access_token: str
    access_expire_time: datetime
    refresh_token: str
    refresh_expire_time: datetime


class Logins:
    """Creates logins, keeps them alive and ends them.

    Args:
        announce_revocation: as of `AccountService`.
        refresh_token_seconds: the life of a refresh token, from its exchange.
        refusals: the log of refusals, shared with `AccountService`.
        clock: Unix seconds.
    """

    def __init__(
        self,
        accounts: Accounts,
        *,
        signer: TokenSigner,
        refresh_tokens: RefreshTokens,
        announce_revocation: Callable[[Revocation], None],
        refresh_token_seconds: float,
        refusals: RefusalLog,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._accounts = accounts
        self._signer = signer
        self._refresh_tokens = refresh_tokens
        self._announce = announce_revocation
        self._refresh_life = timedelta(seconds=refresh_token_seconds)
        self._token_life = timedelta(seconds=signer.life_seconds + _SPARE_SECONDS)
        self._refusals = refusals
        self._clock = clock

    def create(self, username: str, device_id: str, now: float) -> tuple[Login, str]:
        """Returns a new login, which is not stored yet, and its first refresh token. `now` is Unix seconds."""
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

    def grant(self, user: User, login: Login, refresh_token: str, now: float) -> Grant:
        """Returns the tokens of a stored login. `now` becomes the `iat` of the access token."""
        access = self._signer.mint(user.username, login_id=login.login_id, device_id=login.device_id, now=now)
        return Grant(
            user=user,
            device_id=login.device_id,
            access_token=access.text,
            access_expire_time=to_time(access.expire_time),
            refresh_token=refresh_token,
            refresh_expire_time=login.expire_time,
        )

    async def refresh(self, *, refresh_token: str, request_id: str) -> Grant:
        """Exchanges a refresh token for the next pair; idempotent for 60 s by request_id.

        Raises:
            InvalidRequest: the request_id is out of its range.
            TokenInvalid: this deployment did not make the token, the login has ended, or the token was exchanged
                before; the last case ends the login.
            TokenExpired: the token is past its time.
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
        return self.grant(user, login, successor, now)

    async def logout(self, *, refresh_token: str) -> None:
        """Ends the token's login; idempotent.

        Raises:
            TokenInvalid: this deployment did not make the token.
        """
        await self._end_login(self._refresh_tokens.login_id_of(refresh_token))

    async def _repeat(self, login_id: str, token_hash: bytes, request_id: str, now: datetime) -> Login:
        """Returns the login of a token that could not be exchanged, where the request repeats its last exchange.

        Raises:
            TokenInvalid: the login has ended; or the token was used before, which ends the login.
            TokenExpired: the token is past its time.
            UserDisabled: an operator disabled the account.
        """
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
        revocation = await self._accounts.end_login(login_id, now=to_time(self._clock()), token_life=self._token_life)
        if revocation is not None:
            self._announce(revocation)
