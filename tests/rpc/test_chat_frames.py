"""What goes before a welcome; without gRPC, since only so can Redis be held up in that moment."""

import asyncio
from dataclasses import fields
from itertools import pairwise
from typing import Any

import pytest
from parley.v1 import chat_pb2

from service.delivery.session import Session
from service.delivery.stream_state import PhaseEvent
from service.delivery.streams import OpenStream
from service.domain.call import Principal
from service.domain.errors import ConversationNotFound
from service.domain.limits import MAX_WINDOW_MESSAGES
from service.rpc.chat.frames import FrameHandlers
from service.rpc.chat.parts import ChatParts
from storage.postgres.connections.database import Database
from tests.support.log import add_group
from tests.support.logs import add_users
from tests.support.waiting import wait_for
from tests.support.worker import Worker, running_worker


def parts_of(worker: Worker) -> ChatParts:
    """The parts that a hello needs; the worker has no others."""
    parts: dict[str, Any] = {part.name: getattr(worker, part.name, None) for part in fields(ChatParts)}
    return ChatParts(**parts | {"epoch": 1, "acks": worker.ack_service})


async def test_window_is_bounded_also_when_the_client_asks_for_a_larger_one(database: Database, redis_url: str) -> None:
    """Each entry that is under way takes memory."""
    await add_users(database, "ann")
    async with running_worker(database, redis_url, has_bus=False) as worker:
        for nth, hello in enumerate([{"window_messages": 2**62}, {"window_bytes": 2**62}]):
            session = Session(1 + nth, "ann", "")
            stream = OpenStream(session, Principal("ann", "login", "phone", 0, 2**31))
            await FrameHandlers(parts_of(worker), stream).open(chat_pb2.Hello(**hello), 7)
            assert session.window is not None
            assert session.window.max_messages == MAX_WINDOW_MESSAGES


async def test_refusals_of_very_many_positions_leave_time_for_others(database: Database, redis_url: str) -> None:
    await add_users(database, "ann")
    async with running_worker(database, redis_url, has_bus=False) as worker:
        session = Session(1, "ann", "")
        sizes = [0]

        async def look() -> None:
            while True:
                sizes.append(len(session.outbox._pieces))
                await asyncio.sleep(0)

        positions = [chat_pb2.Position(conversation_id=f"g{nth}") for nth in range(5000)]
        looking = asyncio.create_task(look())
        stream = OpenStream(session, Principal("ann", "login", "phone", 0, 2**31))
        await FrameHandlers(parts_of(worker), stream).open(chat_pb2.Hello(positions=positions), 7)
        sizes.append(len(session.outbox._pieces))
        looking.cancel()
        assert sizes[-1] >= 5000
        assert max(after - before for before, after in pairwise(sizes)) <= 300


async def test_welcome_comes_when_the_user_is_online(database: Database, redis_url: str) -> None:
    await add_users(database, "ann")
    async with running_worker(database, redis_url, has_bus=False) as worker:
        session = Session(1, "ann", "")
        handlers = FrameHandlers(parts_of(worker), OpenStream(session, Principal("ann", "login", "phone", 0, 2**31)))
        gate = worker.presence_store.hold()
        opening = asyncio.create_task(handlers.open(chat_pb2.Hello(), 7))
        await wait_for(lambda: worker.presence_store.waiting_count, what="the presence on its way")
        assert session.outbox.has_output  # the marks are there
        assert not session.state.phase.is_written
        gate.set()
        await opening
        assert session.state.phase.is_written
        frame = chat_pb2.ChatResponse.FromString(session.outbox.take_frame())
        assert [welcome.correlation_id for welcome in frame.welcomes] == [7]
        assert frame.caught_up
        assert (await worker.presence_store.read(["ann"]))["ann"].is_online


async def test_one_who_was_removed_and_lags_can_not_type_there(database: Database, redis_url: str) -> None:
    """A window that stays full keeps the removal from being brought, and the session attached."""
    await add_users(database, "ann")
    async with running_worker(database, redis_url, has_bus=False) as worker:
        session = Session(1, "ann", "")
        stream = OpenStream(session, Principal("ann", "login", "phone", 0, 2**31))
        handlers = FrameHandlers(parts_of(worker), stream)
        await handlers.open(chat_pb2.Hello(), 7)
        session.subscriptions.conversation_ids["g"] = None
        session.subscriptions.fall_behind("g", 3, is_member=False)
        with pytest.raises(ConversationNotFound):
            await handlers.handle(chat_pb2.ChatRequest(typing=chat_pb2.TypingFrame(conversation_id="g", active=True)))
        session.subscriptions.lags["g"].is_member = True
        await handlers.handle(chat_pb2.ChatRequest(typing=chat_pb2.TypingFrame(conversation_id="g", active=True)))


async def test_typing_above_five_a_second_is_dropped_and_goes_on_as_time_passes(
    database: Database, redis_url: str
) -> None:
    await add_users(database, "ann", "bob", "eve")
    await add_group(database, "g", "ann", "bob", "eve")
    now = 100.0
    async with running_worker(database, redis_url) as worker:
        reader = await worker.attach("bob")
        sessions = {name: (await worker.attach(name)).session for name in ("ann", "eve")}
        for session in sessions.values():
            session.state.note(PhaseEvent.HELLO)
            session.state.note(PhaseEvent.WELCOME)

        def handlers_of(name: str) -> FrameHandlers:
            stream = OpenStream(sessions[name], Principal(name, "login", "phone", 0, 2**31))
            return FrameHandlers(parts_of(worker), stream, clock=lambda: now)

        async def come_from(handlers: FrameHandlers) -> int:
            """Types by these, then by eve, whose frame comes on the same way; returns how many of ann's came so far."""
            typing = chat_pb2.ChatRequest(typing=chat_pb2.TypingFrame(conversation_id="g", active=True))
            await handlers.handle(typing)
            before = len([event for event in reader.read().typing if event.username == "eve"])
            await handlers_of("eve").handle(typing)
            await wait_for(
                lambda: len([event for event in reader.read().typing if event.username == "eve"]) > before,
                what="eve's",
            )
            return len([event for event in reader.read().typing if event.username == "ann"])

        ann = handlers_of("ann")
        assert [await come_from(ann) for _ in range(11)] == [*range(1, 11), 10]
        for count in (11, 12, 13):
            now += 0.125
            assert await come_from(ann) == count - 1
            now += 0.078125  # 1 / 5 s and a little
            assert await come_from(ann) == count
