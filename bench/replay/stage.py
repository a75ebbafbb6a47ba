"""What a replay stands on: a group a file, a Chat stream a speaker, and listening devices. Built here, closed here."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
from grpc import aio
from parley.v1 import conversation_pb2, message_pb2

from bench.replay.channel import STREAMS_A_CONNECTION, Stub, open_stub
from bench.replay.compare import Entry
from bench.replay.entries import to_entry
from bench.replay.names import HOST, LISTENER
from bench.replay.plan import Plan
from bench.replay.speakers import Speakers
from bench.replay.stream import DeviceStream

_MEMBERS_A_REQUEST = 500
_CALL_SECONDS = 60.0
_RETRIED = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.RESOURCE_EXHAUSTED})
_PAUSES_SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_ACK_EVERY = 200


@dataclass(slots=True)
class Group:
    """A file's group, and what became of its lines.

    Attributes:
        plan: the file's.
        conversation_id: the server's.
        initial_batches: the initial members who did not fit into the creation, as they were added.
        accepted: line number -> seq.
        retried_senders: those of whom the server refused a line at first, so that a later one may have overtaken it.
    """

    plan: Plan
    conversation_id: str
    initial_batches: list[list[str]]
    accepted: dict[int, int] = field(default_factory=dict)
    retried_senders: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Listener:
    """A device of the listening user: conversation -> all that was new to it, in the order in which it came."""

    stream: DeviceStream
    entries: dict[str, list[Entry]] = field(default_factory=dict)


@dataclass(slots=True)
class Stage:
    """Groups and streams."""

    calls: "Calls"
    groups: list[Group]
    listeners: list[Listener]
    speakers: Speakers


OnArrival = Callable[[message_pb2.Message], None]
"""Called for each entry that is new to a listening device."""


class Calls:
    """The unary calls that a replay needs, each as one of its users."""

    def __init__(self, stub: Stub, tokens: dict[str, str]) -> None:
        self._stub = stub
        self._tokens = tokens

    async def make_group(self, plan: Plan) -> Group:
        """Makes a file's group, with the listener and the initial members in it."""
        first, rest = plan.initial[: _MEMBERS_A_REQUEST - 1], plan.initial[_MEMBERS_A_REQUEST - 1 :]
        # As on IRC, who comes in does not see what was said before: so what each one must receive is exactly known.
        request = conversation_pb2.CreateConversationRequest(
            title=plan.title, members=[LISTENER, *first], history_visible=False, request_id=uuid.uuid4().hex
        )
        made = await self._call(self._stub.CreateConversation, request, HOST)
        batches = [list(rest[at : at + _MEMBERS_A_REQUEST]) for at in range(0, len(rest), _MEMBERS_A_REQUEST)]
        for batch in batches:
            await self.add(made.conversation.conversation_id, batch)
        return Group(plan, made.conversation.conversation_id, batches)

    async def add(self, conversation_id: str, usernames: Sequence[str]) -> None:
        """Lets the host add users."""
        request = conversation_pb2.AddMembersRequest(
            conversation_id=conversation_id, members=usernames, request_id=uuid.uuid4().hex
        )
        await self._call(self._stub.AddMembers, request, HOST)

    async def remove(self, conversation_id: str, username: str, *, actor: str) -> None:
        """Lets `actor` remove a user."""
        request = conversation_pb2.RemoveMembersRequest(
            conversation_id=conversation_id, members=[username], request_id=uuid.uuid4().hex
        )
        await self._call(self._stub.RemoveMembers, request, actor)

    async def pull(self, conversation_id: str, limit: int, *, reverse: bool) -> list[message_pb2.Message]:
        """Returns all of a log as the host sees it, read in pages of `limit`."""
        messages: list[message_pb2.Message] = []
        cursor = 0
        while True:
            request = message_pb2.PullRequest(
                conversation_id=conversation_id, cursor=cursor, limit=limit, reverse=reverse
            )
            page = await self._call(self._stub.Pull, request, HOST)
            messages += page.messages
            cursor = page.next_cursor
            if not page.has_more:
                return messages

    async def _call(self, method: Any, request: Any, username: str) -> Any:
        """Calls until the server answers; a request_id makes a repeat safe.

        Raises:
            grpc.aio.AioRpcError: the server refuses, or is away for too long.
        """
        metadata = aio.Metadata(("authorization", f"Bearer {self._tokens[username]}"))
        for pause_seconds in (*_PAUSES_SECONDS, None):
            try:
                return await method(request, metadata=metadata, timeout=_CALL_SECONDS)
            except aio.AioRpcError as error:
                if error.code() not in _RETRIED or pause_seconds is None:
                    raise
            await asyncio.sleep(pause_seconds)
        raise AssertionError("the last attempt returns or raises")


@contextlib.asynccontextmanager
async def open_stage(
    target: str,
    tokens: dict[str, str],
    plans: Sequence[Plan],
    *,
    device_count: int,
    reconnect_every: int,
    speakers_stay: bool,
    on_arrival: OnArrival,
) -> AsyncIterator[Stage]:
    """Makes the groups and opens the streams that must be open from the start; closes all in the end.

    Args:
        target: host:port.
        tokens: user name -> access token, for everybody in the plans, the host and the listener.
        plans: the files.
        device_count: devices of the listening user.
        reconnect_every: after how many entries the last device breaks off and resumes from its acks; 0: never.
        speakers_stay: whether speakers are online all the time.
        on_arrival: called for what the devices that do not break off receive.
    """
    async with contextlib.AsyncExitStack() as stack:
        calls = Calls(await stack.enter_async_context(open_stub(target)), tokens)
        groups = [await calls.make_group(plan) for plan in plans]
        names = sorted({name for plan in plans for name in plan.speakers})
        connection_count = -(-(len(names) + device_count) // STREAMS_A_CONNECTION)
        stubs = [await stack.enter_async_context(open_stub(target)) for _ in range(connection_count)]

        listeners = []
        for number in range(1, device_count + 1):
            breaks = reconnect_every if number == device_count else 0
            listeners.append(_make_listener(stubs[0], tokens[LISTENER], f"listener-{number}", breaks, on_arrival))
        streams = {
            name: DeviceStream(stubs[place // STREAMS_A_CONNECTION], tokens[name], "replay")
            for place, name in enumerate(names, start=device_count)
        }
        speakers = Speakers(streams, plans, stay=speakers_stay)
        stack.push_async_callback(speakers.close)
        for listener in listeners:
            stack.push_async_callback(listener.stream.close)
            await listener.stream.open()
        if speakers_stay:
            await speakers.open_all()
        yield Stage(calls, groups, listeners, speakers)


def _make_listener(stub: Stub, token: str, device_id: str, breaks: int, on_arrival: OnArrival) -> Listener:
    entries: dict[str, list[Entry]] = {}
    count = 0

    def note(message: message_pb2.Message) -> None:
        nonlocal count
        count += 1
        entries.setdefault(message.conversation_id, []).append(to_entry(message))
        if not breaks:
            on_arrival(message)
        elif count % breaks == 0:
            stream.drop()

    stream = DeviceStream(stub, token, device_id, on_message=note, ack_every=_ACK_EVERY, resumes_from_acks=breaks > 0)
    return Listener(stream, entries)
