"""Where the users of a run come from: made on the server's own data, listed in a file, or registered."""

import contextlib
import secrets
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

    async def take(self, count: int) -> list[User]:
        """So many users that were not taken before. Raises: BenchError."""


class Minted:
    """Users that are made, and their tokens minted, by the command `parley` on the server's own data."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment

    async def take(self, count: int) -> list[User]:
        """Makes users."""
        prefix = secrets.token_hex(4)
        names = [f"b{prefix}-{nth}" for nth in range(count)]
        try:
            await accounts.create_users(names, self._environment)
            tokens = await accounts.mint_tokens(names, self._environment)
        except accounts.CommandFailed as error:
            raise BenchError(f"no users: {error}") from error
        return [User(name, tokens[name]) for name in names]


class Listed:
    """Users whose tokens were given in a file, lines of `name token` as `parley token` prints them."""

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


class Registered:
    """Users that are registered as anybody registers, and deleted at the end. Costs the server a password hash each."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._made: list[User] = []

    async def take(self, count: int) -> list[User]:
        """Registers users."""
        prefix, password = secrets.token_hex(4), secrets.token_urlsafe(18)
        async with self._address.open() as channel:
            stub = stub_of(channel)

            async def register(nth: int) -> User:
                request = account_pb2.RegisterRequest(username=f"b{prefix}-{nth}", password=password, device_id="bench")
                answer = await stub.Register(request, timeout=_CALL_SECONDS)
                return User(answer.user.username, answer.access_token)

            try:
                made = await at_once(register, range(count))
            except aio.AioRpcError as error:
                raise BenchError(
                    f"the server registers no users ({in_words(error)}); give tokens instead: --token-file"
                ) from error
        self._made += made
        self._password = password
        return made

    async def delete(self) -> None:
        """Deletes them."""
        async with self._address.open() as channel:
            stub = stub_of(channel)

            async def delete(user: User) -> None:
                request = account_pb2.DeleteAccountRequest(password=self._password)
                with contextlib.suppress(aio.AioRpcError):  # the run is over, and its result is what counts
                    await stub.DeleteAccount(request, metadata=to_metadata(user.token), timeout=_CALL_SECONDS)

            await at_once(delete, self._made)
