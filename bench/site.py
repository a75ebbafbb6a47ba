"""What a run stands on: a server, users with tokens on it, and conversations. Made here, taken away here."""

import contextlib
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
from grpc import aio
from parley.v1 import conversation_pb2, server_info_pb2

from bench.at_once import at_once
from bench.bulk import Bulk, Past, find_bulk
from bench.connections import Address, in_words, stub_of, to_metadata
from bench.errors import BenchError
from bench.filling import Told, fill
from bench.private_server import ServerFailed, private_server
from bench.texts import Texts
from bench.users import Listed, Minted, Registered, User, Users

_CALL_SECONDS = 60.0
_MEMBERS_A_REQUEST = 500


@dataclass(frozen=True, slots=True)
class Group:
    """A conversation that was made, and the seq above which the run's messages will be."""

    conversation: str
    base_seq: int


@dataclass(frozen=True, slots=True)
class Site:
    """A server that answers.

    Attributes:
        server_pid: of the supervisor that we started; None against a server that was there.
        version: what the server says it is.
        bulk: the server's own PostgreSQL, if it is a private one that we may write to.
        tell: called with what is done now, in words, where it takes long.
    """

    address: Address
    users: Users
    server_pid: int | None
    version: str
    bulk: Bulk | None
    tell: Callable[[str], None]

    def find_trouble(self) -> str:
        """What is known to be wrong with the server that was started, in words; empty if nothing is."""
        if self.server_pid is not None and not psutil.pid_exists(self.server_pid):
            return "the server that was started for the run has ended"
        return self.bulk.find_trouble() if self.bulk is not None else ""

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

    async def fill(self, groups: Sequence[Group], writers: Sequence[User], count: int, texts: Texts) -> list[Group]:
        """Has messages stored before the run: by a private PostgreSQL itself, else over the wire.

        Args:
            writers: who sends to each group. The nth group's is sender n of the texts; its nth message has number n.
            count: of all groups together, which get as many each, or one less.

        Returns:
            The groups, as they are then.

        Raises:
            BenchError: something was refused, or there is no room.
        """
        shares = [len(range(nth, count, len(groups))) for nth in range(len(groups))]
        plans = list(zip(groups, writers, shares, range(len(groups)), strict=True))
        note = Told(self.tell, count).note
        if self.bulk is not None:
            pasts = [
                Past(group.conversation, writer.name, texts.head(nth), share) for group, writer, share, nth in plans
            ]
            await self.bulk.store(pasts, texts, note)
        else:

            async def write(plan: tuple[Group, User, int, int]) -> None:
                group, writer, share, nth = plan
                await fill(self.address, writer, nth, {group.conversation: share}, texts, note)

            await at_once(write, plans)
        return [Group(group.conversation, group.base_seq + share) for group, _, share, _ in plans]


@contextlib.asynccontextmanager
async def own_site(workers: int, tell: Callable[[str], None]) -> AsyncIterator[Site]:
    """A server that is started for the run, on data that go away with it. Raises: BenchError."""
    try:
        async with private_server(workers) as place:
            address = Address(place.target)
            version = await _ask_version(address)
            bulk = find_bulk(place.data_dir) if place.data_dir else None
            yield Site(address, Minted(place.environment), place.pid, version, bulk, tell)
    except ServerFailed as error:
        last = str(error).splitlines()[-1].removeprefix("parley: ")
        raise BenchError(f"the server did not start: {last[-500:]}") from error


@contextlib.asynccontextmanager
async def site_at(
    address: Address, token_file: Path | None, tell: Callable[[str], None], warn: Callable[[str], None]
) -> AsyncIterator[Site]:
    """A server that is there.

    Args:
        warn: called with what is left there in the end, in words.

    Raises:
        BenchError: it does not answer as Parley does.
    """
    users = Listed(token_file) if token_file else Registered(address)
    version = await _ask_version(address)
    try:
        yield Site(address, users, None, version, None, tell)
    finally:
        if isinstance(users, Registered):
            try:
                await users.delete()
            except BenchError as error:  # the run is over, and its result is what counts
                warn(str(error))


async def _ask_version(address: Address) -> str:
    async with address.open() as channel:
        try:
            answer = await stub_of(channel).GetServerInfo(server_info_pb2.GetServerInfoRequest(), timeout=10)
        except aio.AioRpcError as error:
            raise BenchError(f"{address.target} does not answer as Parley does: {in_words(error)}") from error
    return str(answer.version)
