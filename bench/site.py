"""What a run stands on: a server, users with tokens on it, and conversations. Made here, taken away here."""

import contextlib
import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from grpc import aio
from parley.v1 import account_pb2, conversation_pb2, server_info_pb2

from bench import accounts
from bench.at_once import at_once
from bench.connections import Address, in_words, stub_of, to_metadata
from bench.errors import BenchError
from bench.private_server import ServerFailed, ServerPlace, private_server

_CALL_SECONDS = 60.0
_MEMBERS_A_REQUEST = 500


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who may log in."""

    name: str
    token: str


@dataclass(frozen=True, slots=True)
class Group:
    """A conversation that was made, and the seq above which the run's messages will be."""

    conversation: str
    base_seq: int


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


@dataclass(frozen=True, slots=True)
class Site:
    """A server that answers.

    Attributes:
        server_pid: of the supervisor that we started; None against a server that was there.
        version: what the server says it is.
    """

    address: Address
    users: Users
    server_pid: int | None
    version: str

    async def make_groups(self, plans: Sequence[tuple[User, Sequence[str]]]) -> list[Group]:
        """Makes a group for each (creator, other members); in order. Raises: BenchError."""
        async with self.address.open() as channel:
            stub = stub_of(channel)

            async def make(plan: tuple[User, Sequence[str]]) -> Group:
                creator, members = plan
                metadata = to_metadata(creator.token)
                request = conversation_pb2.CreateConversationRequest(
                    title="parley bench", members=members[:_MEMBERS_A_REQUEST], request_id=secrets.token_hex(8)
                )
                answer = await stub.CreateConversation(request, metadata=metadata, timeout=_CALL_SECONDS)
                group = Group(answer.conversation.conversation_id, 0)
                for at in range(_MEMBERS_A_REQUEST, len(members), _MEMBERS_A_REQUEST):
                    more = conversation_pb2.AddMembersRequest(
                        conversation_id=group.conversation,
                        members=members[at : at + _MEMBERS_A_REQUEST],
                        request_id=secrets.token_hex(8),
                    )
                    added = await stub.AddMembers(more, metadata=metadata, timeout=_CALL_SECONDS)
                    group = Group(group.conversation, added.message.seq)
                return group

            try:
                return await at_once(make, plans)
            except aio.AioRpcError as error:
                raise BenchError(f"no conversation can be made: {in_words(error)}") from error


@contextlib.asynccontextmanager
async def own_site(workers: int) -> AsyncIterator[Site]:
    """A server that is started for the run, on data that go away with it. Raises: BenchError."""
    try:
        async with private_server(workers) as place:
            yield await _own(place)
    except ServerFailed as error:
        raise BenchError(f"the server did not start: {' '.join(str(error).split())[-500:]}") from error


async def _own(place: ServerPlace) -> Site:
    address = Address(place.target)
    return Site(address, Minted(place.environment), place.pid, await _ask_version(address))


@contextlib.asynccontextmanager
async def site_at(address: Address, token_file: Path | None) -> AsyncIterator[Site]:
    """A server that is there. Raises: BenchError."""
    users = Listed(token_file) if token_file else Registered(address)
    version = await _ask_version(address)
    try:
        yield Site(address, users, None, version)
    finally:
        if isinstance(users, Registered):
            await users.delete()


async def _ask_version(address: Address) -> str:
    async with address.open() as channel:
        try:
            answer = await stub_of(channel).GetServerInfo(server_info_pb2.GetServerInfoRequest(), timeout=10)
        except aio.AioRpcError as error:
            raise BenchError(f"{address.target} does not answer as Parley does: {in_words(error)}") from error
    return str(answer.version)
