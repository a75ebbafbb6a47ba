"""Streams with manual acks, for tests: a server that is quick to give up, and what is said on such streams."""

import dataclasses
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any

import grpc
from parley.v1 import chat_pb2, chat_service_pb2_grpc, dead_letter_pb2, message_pb2

from tests.support.people import Person, Stream, registered
from tests.support.servers import RunningServer, running_server
from tests.support.waiting import wait_for

# Deadlines and waits of tenths of a second, three attempts.
QUICK = {
    "PARLEY_RETRY_FIRST_DELAY_SECONDS": "0.05",
    "PARLEY_RETRY_MAX_DELAY_SECONDS": "0.4",
    "PARLEY_RETRY_MAX_ATTEMPTS": "3",
    "PARLEY_RETRY_ACK_DEADLINE_SECONDS": "0.5",
}
# A deadline that no test waits for.
LONG: dict[str, Any] = {"seconds": 3600}


@contextmanager
def quick_server() -> Iterator[RunningServer]:
    """A server with two workers that is quick to give up; must log no error."""
    with running_server(workers=2, settings=QUICK) as running:
        yield running
        running.stop()
    unforeseen = [line for line in running.output if '"level": "error"' in line]
    assert not unforeseen, "\n".join(unforeseen)


@asynccontextmanager
async def fed(server: RunningServer, count: int, **fields: Any) -> AsyncIterator[tuple[Person, Person, str, Stream]]:
    """A sender, a user with an open stream with manual acks, and their conversation, which has so many messages."""
    async with registered(server.target) as alice, registered(server.target) as bob:
        group = await alice.make_group(bob)
        await send_many(alice, group, count)
        async with bob.chat(**manual(**fields)) as stream:
            yield alice, bob, group, stream


@asynccontextmanager
async def group_of(server: RunningServer, person: Person, count: int, **fields: Any) -> AsyncIterator[list[Stream]]:
    """Opens streams of one device, each on a connection of its own, so that both workers serve some."""
    async with AsyncExitStack() as stack:
        streams = []
        for _ in range(count):
            options = [("grpc.use_local_subchannel_pool", 1)]
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(server.target, options=options))
            member = dataclasses.replace(person, channel=channel, stub=chat_service_pb2_grpc.ChatServiceStub(channel))
            streams.append(await stack.enter_async_context(member.chat(**manual(**fields))))
        yield streams


def manual(**fields: Any) -> dict[str, Any]:
    """The fields of a hello with manual acks, whose deadline is long unless one is given as None."""
    fields.setdefault("ack_deadline", LONG)
    return {
        "ack_mode": chat_pb2.ACK_MODE_MANUAL,
        **{name: value for name, value in fields.items() if value is not None},
    }


async def ack(stream: Stream, conversation_id: str, *seqs: int) -> int:
    """Acks exactly these; gives the frame's correlation id."""
    positions = [chat_pb2.Position(conversation_id=conversation_id, seq=seq) for seq in seqs]
    return await stream.write(ack=chat_pb2.AckFrame(positions=positions))


async def nack(stream: Stream, conversation_id: str, *seqs: int, reason: str = "no", **fields: Any) -> int:
    """Nacks these; gives the frame's correlation id."""
    nacks = [chat_pb2.Nack(conversation_id=conversation_id, seq=seq, reason=reason, **fields) for seq in seqs]
    return await stream.write(nack=chat_pb2.NackFrame(nacks=nacks))


def attempts(stream: Stream, conversation_id: str) -> list[tuple[int, int]]:
    """The (seq, attempt) of what came of a conversation, in order."""
    return [(one.seq, one.delivery_attempt) for one in stream.messages if one.conversation_id == conversation_id]


async def send_many(person: Person, conversation_id: str, count: int) -> None:
    """Sends messages whose texts are their numbers from 0."""
    for first in range(0, count, 500):
        requests = [
            message_pb2.SendRequest(conversation_id=conversation_id, text=str(number))
            for number in range(first, min(count, first + 500))
        ]
        await person.call("BatchSend", message_pb2.BatchSendRequest(requests=requests))


async def dead_letters(person: Person, **fields: Any) -> list[dead_letter_pb2.DeadLetter]:
    """The first page of a user's dead letters."""
    request = dead_letter_pb2.ListDeadLettersRequest(**fields)
    return list((await person.call("ListDeadLetters", request)).dead_letters)


async def until_dead(person: Person, count: int = 1, **fields: Any) -> list[dead_letter_pb2.DeadLetter]:
    """Waits until a user has so many dead letters; gives them."""

    async def enough() -> list[dead_letter_pb2.DeadLetter] | None:
        found = await dead_letters(person, **fields)
        return found if len(found) == count else None

    found = await wait_for(enough, what=f"{count} dead letters")
    assert found is not None
    return found


async def half_close(stream: Stream) -> None:
    """Ends a stream as a client does that has finished, and waits for its end."""
    await stream.call.done_writing()
    assert await stream.end() is grpc.StatusCode.OK
