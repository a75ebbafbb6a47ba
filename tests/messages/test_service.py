"""The verbs about messages, without a server: what a call is told, what a stream is told, and what is in the log."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from parley.v1 import chat_pb2, message_pb2

from service.convert.drafts import Checked, Drafter, Prepared
from service.convert.pulls import PullRange
from service.delivery.session import Session
from service.domain.errors import (
    ConversationNotFound,
    CursorBeyondEnd,
    Overloaded,
    ParleyError,
    ShuttingDown,
)
from service.domain.hashes import RequestHasher
from service.messages.service import MessageService, Pulled
from storage.postgres.connections.database import Database
from storage.postgres.log.messages import Messages
from storage.records import Entry, MembershipAction, Stored
from tests.support.desks import Desk, desk, shown
from tests.support.log import add_group, locked, log_of, wait_until_blocked
from tests.support.logs import add_users, change_members, delete_user
from tests.support.waiting import wait_for


@pytest.fixture
async def db(database: Database) -> Database:
    """ann and bob are in the group g; bob is a reader of news; cid has deleted his account, dan is in nothing."""
    await add_users(database, "ann", "bob", "cid", "dan")
    await delete_user(database, "cid")
    for group in ("g", "news"):
        await add_group(database, group, "ann", "bob")
    await database.execute("UPDATE members SET role = 1 WHERE conversation_id = 'news' AND username = 'bob'")
    return database


@pytest.fixture
async def at(db: Database) -> AsyncIterator[Desk]:
    async with desk(db) as opened:
        yield opened


@pytest.fixture
def service(at: Desk, db: Database) -> MessageService:
    return MessageService(at.writer, Messages(db))


def request(conversation_id: str, text: str = "hello", **fields: object) -> message_pb2.SendRequest:
    return message_pb2.SendRequest(conversation_id=conversation_id, text=text, **fields)


def prepared(sender: str, conversation_id: str, text: str = "hello", **fields: object) -> Prepared:
    return Drafter(sender, RequestHasher(b"key")).prepare(request(conversation_id, text, **fields))


def checked(sender: str, *requests: message_pb2.SendRequest) -> list[Checked]:
    return Drafter(sender, RequestHasher(b"key")).prepare_all(requests)


async def send(
    service: MessageService, sender: str, conversation_id: str, text: str = "hello", **fields: object
) -> int:
    """Sends a message that is new; returns its seq."""
    stored = await service.send(prepared(sender, conversation_id, text, **fields), deadline=None)
    assert isinstance(stored, Stored)
    return stored.seq


async def test_send_returns_the_place_of_a_new_message_and_the_entry_of_a_repeat(service, at):
    assert await send(service, "ann", "g", "one") == 1
    assert await send(service, "ann", "g", "two", request_id="r") == 2
    again = await service.send(prepared("ann", "g", "two", request_id="r"), deadline=None)
    assert isinstance(again, Entry)
    assert (again.seq, again.text, again.request_id) == (2, "two", "r")
    assert at.announced == [("g", 1), ("g", 2)]


@pytest.mark.parametrize(
    ("reason", "sender", "conversation_id", "fields"),
    [
        ("REQUEST_ID_REUSED", "ann", "g", {"text": "other", "request_id": "r"}),
        ("ROLE_TOO_LOW", "bob", "news", {}),
        ("CONVERSATION_NOT_FOUND", "dan", "g", {}),
        ("REPLY_NOT_FOUND", "ann", "g", {"reply_to_seq": 9}),
        ("USER_NOT_FOUND", "ann", "ann:cid", {}),
    ],
)
async def test_send_raises_what_the_stream_is_told_and_nothing_is_stored(
    service, db, at, reason, sender, conversation_id, fields
):
    await send(service, "ann", "g", "first", request_id="r")
    with pytest.raises(ParleyError) as caught:
        await service.send(prepared(sender, conversation_id, **fields), deadline=None)
    assert caught.value.reason == reason
    session = Session(7, sender)
    service.send_on_stream(session, [prepared(sender, conversation_id, **fields)], 5)
    await wait_for(lambda: not session.outbox.unanswered_count, what="the result")
    (result,) = chat_pb2.ChatResponse.FromString(session.outbox.take_frame()).results
    assert (result.correlation_id, result.index) == (5, 0)
    assert str(caught.value) == result.error.message
    (batched,) = await service.send_batch([prepared(sender, conversation_id, **fields)], deadline=None)
    assert (batched.reason, str(batched)) == (reason, str(caught.value))
    assert [text for _, text in await log_of(db, "g")] == ["first"]
    assert at.announced == [("g", 1)]


async def test_request_whose_deadline_has_passed_is_refused(service, db):
    late = asyncio.get_running_loop().time() - 0.001
    with pytest.raises(ParleyError) as caught:
        await service.send(prepared("ann", "g"), deadline=late)
    assert caught.value.reason == "DEADLINE_PASSED"
    assert shown(await service.send_batch([prepared("ann", "g")], deadline=late)) == ["DEADLINE_PASSED"]
    assert await log_of(db, "g") == []


async def test_batch_gives_each_its_outcome_in_order(service, db):
    batch = checked(
        "ann", request("g", "a"), request("g", ""), request("ann:cid"), request("g", "b"), request("bob:dan")
    )
    outcomes = await service.send_batch(batch, deadline=None)
    assert shown(outcomes) == [1, "INVALID_REQUEST", "USER_NOT_FOUND", 2, "CONVERSATION_NOT_FOUND"]
    assert await log_of(db, "g") == [(1, "a"), (2, "b")]


async def test_batch_of_refused_requests_alone_ends_at_once(service):
    assert shown(await service.send_batch(checked("ann", request("g", "")), deadline=None)) == ["INVALID_REQUEST"]


async def test_full_queue_refuses_a_batch_as_a_whole_and_each_message_of_a_frame(db):
    async with desk(db, max_queued=8) as at:  # a sender may hold a quarter
        service, session = MessageService(at.writer, Messages(db)), Session(7, "ann")
        three = checked("ann", request("g", "1"), request("g", ""), request("g", "2"), request("g", "3"))
        async with locked(db, "g"):
            service.send_on_stream(session, three[:1], 1)
            await wait_until_blocked(db)
            with pytest.raises(Overloaded):
                await service.send_batch(three, deadline=None)
            with pytest.raises(Overloaded):
                await service.send_batch(three[2:], deadline=None)
            service.send_on_stream(session, three, 2)
            await wait_for(lambda: session.outbox.unanswered_count == 1, what="the refusals")
            results = chat_pb2.ChatResponse.FromString(session.outbox.take_frame()).results
            assert [one.index for one in results] == [1, 0, 2, 3]
            assert ["RESOURCE" if one.error.code == 8 else "INVALID" for one in results] == [
                "INVALID",
                "RESOURCE",
                "RESOURCE",
                "RESOURCE",
            ]
        await wait_for(lambda: not session.outbox.unanswered_count, what="the first one")
    assert await log_of(db, "g") == [(1, "1")]


async def test_frame_tells_the_session_what_it_stored_and_answers_only_refusals_without_a_correlation_id(service, at):
    session = Session(7, "ann")
    service.send_on_stream(session, checked("ann", request("g", "a"), request("g", ""), request("g", "b")), 0)
    assert session.outbox.unanswered_count == 3
    await wait_for(lambda: not session.outbox.unanswered_count, what="all outcomes")
    (result,) = chat_pb2.ChatResponse.FromString(session.outbox.take_frame()).results
    assert (result.index, result.WhichOneof("outcome")) == (1, "error")
    assert session.subscriptions.own_seqs == {"g": 2}
    assert at.origins == {7}


async def test_closing_writer_refuses_calls_and_streams(db):
    async with desk(db) as at:
        service, session = MessageService(at.writer, Messages(db)), Session(7, "ann")
        await at.writer.close(1)
        with pytest.raises(ShuttingDown):
            await service.send(prepared("ann", "g"), deadline=None)
        service.send_on_stream(session, [prepared("ann", "g")], 3)
        await wait_for(lambda: not session.outbox.unanswered_count, what="the refusal")
        (result,) = chat_pb2.ChatResponse.FromString(session.outbox.take_frame()).results
        assert result.HasField("error")


def wanted(conversation_id: str = "g", **fields: object) -> PullRange:
    values: dict[str, object] = {"cursor": 0, "from_time": None, "limit": 2, "reverse": False}
    return PullRange(conversation_id, **(values | fields))


def seqs(pulled: Pulled) -> tuple[list[int], int, bool]:
    """(seqs, next cursor, has more) of what was pulled."""
    return [entry.seq for entry in pulled.page.entries], pulled.next_cursor, pulled.page.has_more


async def test_pull_reads_both_ways_and_says_where_the_next_page_begins(service):
    for nth in range(3):
        await send(service, "ann", "g", str(nth))
    assert seqs(await service.pull("bob", wanted())) == ([1, 2], 3, True)
    assert seqs(await service.pull("bob", wanted(cursor=3))) == ([3], 4, False)
    assert seqs(await service.pull("bob", wanted(cursor=4))) == ([], 4, False)
    assert seqs(await service.pull("bob", wanted(reverse=True))) == ([3, 2], 1, True)
    assert seqs(await service.pull("bob", wanted(reverse=True, cursor=1))) == ([1], 0, False)


async def test_reverse_reading_ends_at_the_first_entry_that_the_member_may_see(service, db):
    for nth in range(2):
        await send(service, "ann", "g", str(nth))
    await db.execute("UPDATE conversations SET history_visible = false WHERE conversation_id = 'g'")
    joined = await change_members(db, "g", MembershipAction.ADDED, "dan")
    await send(service, "ann", "g", "seen")
    assert seqs(await service.pull("dan", wanted(reverse=True, limit=9))) == ([joined.seq + 1, joined.seq], 0, False)


async def test_pull_by_time(service):
    before = datetime.now(UTC) - timedelta(days=1)
    for nth in range(3):
        await send(service, "ann", "g", str(nth))
    assert seqs(await service.pull("bob", wanted(from_time=before))) == ([1, 2], 3, True)
    assert seqs(await service.pull("bob", wanted(from_time=before, reverse=True))) == ([], 0, False)
    after = before + timedelta(days=2)
    assert seqs(await service.pull("bob", wanted(from_time=after))) == ([], 4, False)
    assert seqs(await service.pull("bob", wanted(from_time=after, reverse=True))) == ([3, 2], 1, True)


async def test_pull_refuses_cursors_beyond_the_end_and_users_who_never_were_in_it(service):
    await send(service, "ann", "g")
    with pytest.raises(CursorBeyondEnd):
        await service.pull("bob", wanted(cursor=3))
    for username, conversation_id in (("dan", "g"), ("ann", "absent"), ("dan", "ann:bob")):
        for from_time in (None, datetime.now(UTC)):
            with pytest.raises(ConversationNotFound):
                await service.pull(username, wanted(conversation_id, from_time=from_time))
