"""The session that people copy, where it is full: of sends without an answer, of entries without an ack."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from parley.v1 import message_pb2
from session import OUTBOX_SENDS, WINDOW_ENTRIES, Refused, Session

from tests.support.people import PASSWORD, Person, registered
from tests.support.proxy import Proxy, open_proxy
from tests.support.servers import RunningServer


@contextlib.asynccontextmanager
async def opened(server: RunningServer) -> AsyncIterator[tuple[Session, Person, Proxy]]:
    """A session of alice's behind a proxy, and alice herself."""
    async with registered(server.target) as alice, open_proxy(server.target) as proxy:
        session = await Session.open(proxy.target, alice.name, PASSWORD, device_id="session")
        try:
            yield session, alice, proxy
        finally:
            await session.close(limit_seconds=0)


async def test_one_send_too_many_is_refused_and_the_others_are_stored_in_order(server: RunningServer) -> None:
    async with opened(server) as (session, alice, proxy):
        notes = f"{alice.name}:{alice.name}"
        assert (await session.send(notes, "first")).seq == 1
        proxy.cut()
        sends = [asyncio.create_task(session.send(notes, f"text {number}")) for number in range(OUTBOX_SENDS)]
        done, _ = await asyncio.wait(sends, timeout=0)  # each takes its place
        assert not done
        with pytest.raises(Refused) as refused:
            await session.send(notes, "one too many")
        assert refused.value.reason == "OUTBOX_FULL"
        proxy.restore()
        accepted = await asyncio.gather(*sends)
        assert [each.seq for each in accepted] == list(range(2, OUTBOX_SENDS + 2))
        assert (await session.send(notes, "there is room again")).seq == OUTBOX_SENDS + 2


async def test_what_is_not_acknowledged_holds_back_the_rest_and_an_ack_lets_it_come(server: RunningServer) -> None:
    async with opened(server) as (session, alice, _):
        notes = f"{alice.name}:{alice.name}"
        for first in range(0, WINDOW_ENTRIES + 100, 100):
            requests = [
                message_pb2.SendRequest(conversation_id=notes, text=f"text {first + number}") for number in range(100)
            ]
            await alice.call("BatchSend", message_pb2.BatchSendRequest(requests=requests))
        entries = session.messages()
        for seq in range(1, WINDOW_ENTRIES + 1):
            entry = await anext(entries)
            assert isinstance(entry, message_pb2.Message)
            assert entry.seq == seq
        next_entry = asyncio.ensure_future(anext(entries))
        done, _ = await asyncio.wait([next_entry], timeout=0.5)
        assert not done, "the server holds back what is beyond the window"
        session.ack(notes, WINDOW_ENTRIES)
        assert (await next_entry).seq == WINDOW_ENTRIES + 1


async def test_a_session_that_is_closed_has_told_its_acks_and_refuses_sends(server: RunningServer) -> None:
    async with opened(server) as (session, alice, _):
        notes = f"{alice.name}:{alice.name}"
        await session.send(notes, "first")
        entry = await anext(session.messages())
        session.ack(notes, entry.seq)
        await session.close()
        with pytest.raises(Refused, match="closed"):
            await session.send(notes, "too late")
        assert [found async for found in session.messages()] == []
        again = await Session.open(server.target, alice.name, PASSWORD, device_id="session")
        await again.send(notes, "second")
        assert (await anext(again.messages())).seq == 2
        await again.close()
