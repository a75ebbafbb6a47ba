"""Where the users of a run come from: made on the server's own data, listed in a file, or registered."""

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from grpc import aio
from parley.v1 import account_pb2

from bench import accounts
from bench.at_once import at_once
from bench.connections import Address, in_words, stub_of, to_metadata
from bench.errors import BenchError

_CALL_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who may log in."""

    name: str
    token: str


class Users(Protocol):
    """Where users come from."""

    @property
    def renew_seconds(self) -> float | None:
        """How long from now their tokens can be used before `renew` is due; None: for as long as any run."""

    async def take(self, count: int) -> list[User]:
        """So many users that were not taken before. Raises: BenchError."""

    async def renew(self) -> Mapping[str, str]:
        """Fresh tokens of all users that were taken, by name; earlier ones hold to their end. Raises: BenchError."""


class Minted:
    """Users that are made, and their tokens minted, by the command `parley` on the server's own data."""

    renew_seconds = accounts.TOKEN_SECONDS / 2

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment
        self._names: list[str] = []

    async def take(self, count: int) -> list[User]:
        """Makes users."""
        prefix = secrets.token_hex(4)
        names = [f"b{prefix}-{nth}" for nth in range(count)]
        try:
            await accounts.create_users(names, self._environment)
        except accounts.CommandFailed as error:
            raise BenchError(f"no users: {error}") from error
        self._names += names
        tokens = await self._mint(names)
        return [User(name, tokens[name]) for name in names]

    async def renew(self) -> Mapping[str, str]:
        """Mints tokens anew."""
        return await self._mint(self._names)

    async def _mint(self, names: Sequence[str]) -> Mapping[str, str]:
        try:
            return await accounts.mint_tokens(names, self._environment)
        except accounts.CommandFailed as error:
            raise BenchError(f"no tokens: {error}") from error


class Listed:
    """Users whose tokens were given in a file, lines of `name token` as `parley token` prints them."""

    renew_seconds = None  # nobody can: a run that outlives them says so at their end

    def __init__(self, path: Path) -> None:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise BenchError(f"the token file can't be read: {error}") from error
        self._users: list[User] = []
        for number, line in enumerate(lines, 1):
            if line.strip():
                fields = line.split()
                if len(fields) != 2:
                    raise BenchError(f"{path}, line {number}: not `name token`")
                self._users.append(User(*fields))
        self._path = path

    async def take(self, count: int) -> list[User]:
        """Takes users from the file."""
        if count > len(self._users):
            raise BenchError(
                f"the scenario needs {count} users and {self._path} has {len(self._users)} left; make some on the "
                f"server: parley user create NAME..., parley token NAME... --ttl 86400"
            )
        taken, self._users = self._users[:count], self._users[count:]
        return taken

    async def renew(self) -> Mapping[str, str]:
        """Has none."""
        return {}


@dataclass(slots=True)
class _Login:
    """A registered user's tokens as they are now; `expire_time` is the access token's, in seconds since 1970."""

    access_token: str
    refresh_token: str
    expire_time: float


_Tokens = account_pb2.RegisterResponse | account_pb2.RefreshTokenResponse


class Registered:
    """Users that are registered as anybody registers, and deleted at the end. Costs the server a password hash each."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._logins: dict[str, _Login] = {}
        self._password = secrets.token_urlsafe(18)

    @property
    def renew_seconds(self) -> float | None:
        """Half of what is left of the token that ends first."""
        if not self._logins:
            return None
        return max(0.0, min(login.expire_time for login in self._logins.values()) - time.time()) / 2

    async def take(self, count: int) -> list[User]:
        """Registers users."""
        prefix = secrets.token_hex(4)
        async with self._address.open() as channel:
            stub = stub_of(channel)

            async def register(nth: int) -> User:
                name = f"b{prefix}-{nth}"
                request = account_pb2.RegisterRequest(username=name, password=self._password, device_id="bench")
                answer = await stub.Register(request, timeout=_CALL_SECONDS)
                self._note(name, answer)
                return User(name, answer.access_token)

            try:
                return await at_once(register, range(count))
            except aio.AioRpcError as error:
                raise BenchError(
                    f"the server registers no users ({in_words(error)}); give tokens instead: --token-file"
                ) from error

    async def renew(self) -> Mapping[str, str]:
        """Exchanges the refresh tokens."""
        async with self._address.open() as channel:
            stub = stub_of(channel)

            async def refresh(name: str) -> None:
                request = account_pb2.RefreshTokenRequest(
                    refresh_token=self._logins[name].refresh_token, request_id=secrets.token_hex(8)
                )
                self._note(name, await stub.RefreshToken(request, timeout=_CALL_SECONDS))

            try:
                await at_once(refresh, list(self._logins))
            except aio.AioRpcError as error:
                raise BenchError(f"the tokens of the run can't be refreshed: {in_words(error)}") from error
        return {name: login.access_token for name, login in self._logins.items()}

    async def delete(self) -> None:
        """Deletes them.

        Raises:
            BenchError: some are left.
        """
        left: list[str] = []
        async with self._address.open() as channel:
            stub = stub_of(channel)

            async def delete(name: str) -> None:
                request = account_pb2.DeleteAccountRequest(password=self._password)
                metadata = to_metadata(self._logins[name].access_token)
                try:
                    await stub.DeleteAccount(request, metadata=metadata, timeout=_CALL_SECONDS)
                except aio.AioRpcError as error:
                    left.append(f"{name} ({in_words(error)})")

            await at_once(delete, list(self._logins))
        if left:
            raise BenchError(f"{len(left)} accounts of the run are left on the server, such as {min(left)}")

    def _note(self, name: str, tokens: _Tokens) -> None:
        expire_time = tokens.access_expire_time
        self._logins[name] = _Login(tokens.access_token, tokens.refresh_token, expire_time.seconds)
