"""Callers who make one unary call after the other and try nothing twice: what fails for them fails for users."""

import asyncio
import collections
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import grpc
from parley.v1 import account_pb2

from tests.support.people import Person, registered
from tests.support.waiting import wait_for

_CALLERS = 4
_MAX_TEXT = 200


@dataclass(slots=True)
class Tally:
    """What became of the calls.

    Attributes:
        failed: code and text -> how many calls.
    """

    done_count: int = 0
    failed: "collections.Counter[str]" = field(default_factory=collections.Counter)

    async def grow(self, count: int = 50) -> None:
        """Waits for so many further calls."""
        goal = self.done_count + self.failed.total() + count
        await wait_for(lambda: self.done_count + self.failed.total() >= goal, limit_seconds=60, what="calls")


@contextlib.asynccontextmanager
async def calling(target: str) -> AsyncIterator[Tally]:
    """Has users send, read and look up without a pause until the end."""
    tally = Tally()
    async with contextlib.AsyncExitStack() as stack:
        people = [await stack.enter_async_context(registered(target)) for _ in range(_CALLERS)]
        conversation_id = await people[0].make_group(*people[1:])
        tasks = [asyncio.create_task(_call_on(person, conversation_id, tally)) for person in people]
        try:
            yield tally
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _call_on(person: Person, conversation_id: str, tally: Tally) -> None:
    while True:
        for attempt in (
            lambda: person.send(conversation_id, "hello"),
            lambda: person.pull(conversation_id, limit=5),
            lambda: person.call("GetUser", account_pb2.GetUserRequest(username=person.name)),
        ):
            try:
                await attempt()
                tally.done_count += 1
            except grpc.aio.AioRpcError as error:
                tally.failed[f"{error.code().name}: {(error.details() or '')[:_MAX_TEXT]}"] += 1
