"""Pull: every edge of cursors, limits, directions and times."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from parley.v1 import conversation_pb2, message_pb2

from tests.support.people import Person, refusal, registered, status_of
from tests.support.servers import RunningServer

LENGTH = 45


@dataclass(frozen=True, slots=True)
class Log:
    """A conversation of LENGTH messages, "text 1" to "text 45", and its times."""

    owner: Person
    name: str
    times: list[Timestamp]

    async def pull(self, **fields: object) -> message_pb2.PullResponse:
        return await self.owner.pull(self.name, **fields)

    async def seqs(self, **fields: object) -> list[int]:
        return [message.seq for message in (await self.pull(**fields)).messages]


@pytest.fixture(scope="module")
async def log(server: RunningServer) -> AsyncIterator[Log]:
    async with registered(server.target) as alice:
        own = f"{alice.name}:{alice.name}"
        times = []
        for number in range(1, LENGTH + 1):
            sent = await alice.send(own, f"text {number}")
            times.append(sent.message.create_time)
        assert len({time.ToNanoseconds() for time in times}) == LENGTH
        yield Log(alice, own, times)


def after(time: Timestamp, micros: int) -> Timestamp:
    return Timestamp(seconds=time.seconds, nanos=time.nanos + 1000 * micros)


async def test_cursor_0_is_the_start_and_limit_0_is_20(log):
    page = await log.pull()
    assert [message.text for message in page.messages] == [f"text {number}" for number in range(1, 21)]
    assert (page.next_cursor, page.has_more, page.epoch) == (21, True, 1)


async def test_cursor_is_inclusive_and_the_last_page_keeps_the_next_seq(log):
    page = await log.pull(cursor=40, limit=100)
    assert [message.seq for message in page.messages] == list(range(40, LENGTH + 1))
    assert (page.next_cursor, page.has_more) == (LENGTH + 1, False)


async def test_page_that_ends_exactly_with_the_log_has_no_more(log):
    page = await log.pull(cursor=LENGTH, limit=1)
    assert (len(page.messages), page.next_cursor, page.has_more) == (1, LENGTH + 1, False)


async def test_one_above_the_end_is_an_empty_page(log):
    page = await log.pull(cursor=LENGTH + 1)
    assert (len(page.messages), page.next_cursor, page.has_more) == (0, LENGTH + 1, False)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cursor", [LENGTH + 2, 2**63 - 1])
async def test_further_above_is_out_of_range_and_tells_the_end(log, cursor, reverse):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await log.pull(cursor=cursor, reverse=reverse)
    assert caught.value.code() is grpc.StatusCode.OUT_OF_RANGE
    info = status_of(caught.value).details[0]
    assert b"CURSOR_BEYOND_END" in info.value
    assert str(LENGTH) in caught.value.details()
    assert b"last_seq" in info.value


@pytest.mark.parametrize("fields", [{"cursor": -1}, {"cursor": -(2**63)}, {"limit": -1}, {"limit": -(2**31)}])
async def test_negative_numbers_are_refused(log, fields):
    for reverse in (False, True):
        async with refusal("INVALID_REQUEST", grpc.StatusCode.INVALID_ARGUMENT):
            await log.pull(reverse=reverse, **fields)


async def test_reverse_begins_at_the_end_and_pages_to_the_oldest(log):
    cursor, pages = 0, []
    while True:
        page = await log.pull(cursor=cursor, limit=10, reverse=True)
        pages.append([message.seq for message in page.messages])
        if not page.has_more:
            break
        assert page.next_cursor == pages[-1][-1] - 1
        cursor = page.next_cursor
    assert page.next_cursor == 0
    assert [len(one) for one in pages] == [10, 10, 10, 10, 5]
    assert [seq for one in pages for seq in one] == list(range(LENGTH, 0, -1))


async def test_reverse_from_a_cursor_is_inclusive(log):
    assert await log.seqs(cursor=3, reverse=True) == [3, 2, 1]
    page = await log.pull(cursor=1, reverse=True)
    assert ([message.seq for message in page.messages], page.next_cursor, page.has_more) == ([1], 0, False)
    # One above the end is the end.
    assert await log.seqs(cursor=LENGTH + 1, limit=1, reverse=True) == [LENGTH]


async def test_poller_that_keeps_next_cursor_sees_everything_once(server):
    async with registered(server.target) as alice:
        own = f"{alice.name}:{alice.name}"
        await alice.send(own, "1")
        cursor, seen = 0, []
        for number in range(2, 12):
            page = await alice.pull(own, cursor=cursor, limit=3)
            seen += [message.text for message in page.messages]
            cursor = page.next_cursor
            empty = await alice.pull(own, cursor=cursor)
            assert (list(empty.messages), empty.next_cursor) == ([], cursor)
            await alice.send(own, str(number))
        assert seen == [str(number) for number in range(1, 11)]


async def test_limit_above_500_is_500(server):
    async with registered(server.target) as alice:
        own = f"{alice.name}:{alice.name}"
        for _ in range(2):
            requests = [message_pb2.SendRequest(conversation_id=own, text="x") for _ in range(255)]
            await alice.call("BatchSend", message_pb2.BatchSendRequest(requests=requests))
        for limit in (500, 501, 2**31 - 1):
            page = await alice.pull(own, limit=limit)
            assert (len(page.messages), page.has_more, page.next_cursor) == (500, True, 501)


async def test_page_of_1_mib_stops_and_says_has_more(server):
    async with registered(server.target) as alice:
        own = f"{alice.name}:{alice.name}"
        for _ in range(10):
            requests = [
                message_pb2.SendRequest(conversation_id=own, data=b"x" * 60_000, content_type="a/b") for _ in range(4)
            ]
            await alice.call("BatchSend", message_pb2.BatchSendRequest(requests=requests))
        for reverse in (False, True):
            cursor, seqs = 0, []
            while True:
                page = await alice.pull(own, cursor=cursor, limit=500, reverse=reverse)
                assert page.ByteSize() <= 1024 * 1024
                seqs += [message.seq for message in page.messages]
                if not page.has_more:
                    break
                assert page.ByteSize() > 800_000
                cursor = page.next_cursor
            assert seqs == sorted(range(1, 41), reverse=reverse)


async def test_empty_conversation_gives_empty_pages(server):
    async with registered(server.target) as alice:
        group = await alice.make_group()
        for fields in ({}, {"cursor": 1}):
            page = await alice.pull(group, **fields)
            assert (len(page.messages), page.next_cursor, page.has_more, page.epoch) == (0, 1, False, 1)
        page = await alice.pull(group, reverse=True)
        assert (len(page.messages), page.next_cursor, page.has_more) == (0, 0, False)
        async with refusal("CURSOR_BEYOND_END"):
            await alice.pull(group, cursor=2)


async def test_from_time_finds_the_place_in_both_directions(log):
    time = log.times[29]  # of seq 30
    assert await log.seqs(from_time=time, limit=3) == [30, 31, 32]
    assert await log.seqs(from_time=time, limit=3, reverse=True) == [30, 29, 28]
    assert await log.seqs(from_time=after(time, 1), limit=1) == [31]
    assert await log.seqs(from_time=after(time, 1), limit=1, reverse=True) == [30]
    assert await log.seqs(from_time=after(time, -1), limit=1) == [30]
    assert await log.seqs(from_time=after(time, -1), limit=1, reverse=True) == [29]


async def test_from_time_beyond_either_end(log):
    before, behind = after(log.times[0], -1), after(log.times[-1], 1)
    page = await log.pull(from_time=behind)
    assert (len(page.messages), page.next_cursor, page.has_more, page.epoch) == (0, LENGTH + 1, False, 1)
    assert await log.seqs(from_time=behind, limit=1, reverse=True) == [LENGTH]
    page = await log.pull(from_time=before, reverse=True)
    assert (len(page.messages), page.next_cursor, page.has_more, page.epoch) == (0, 0, False, 1)
    assert await log.seqs(from_time=before, limit=1) == [1]


@pytest.mark.parametrize("seconds", [-62_135_596_800, 253_402_300_799])
async def test_from_time_takes_every_legal_time(log, seconds):
    nanos = 999_999_999 if seconds > 0 else 0
    for reverse in (False, True):
        found = await log.seqs(from_time=Timestamp(seconds=seconds, nanos=nanos), limit=1, reverse=reverse)
        is_beyond = (seconds > 0) != reverse
        assert found == ([] if is_beyond else [LENGTH if reverse else 1])


@pytest.mark.parametrize(
    "time", [Timestamp(seconds=2**62), Timestamp(seconds=-(2**62)), Timestamp(nanos=-1), Timestamp(nanos=2**31 - 1)]
)
async def test_from_time_that_is_none_is_refused(log, time):
    async with refusal("INVALID_REQUEST", grpc.StatusCode.INVALID_ARGUMENT):
        await log.pull(from_time=time)


async def test_from_time_goes_with_no_cursor(log):
    async with refusal("INVALID_REQUEST", grpc.StatusCode.INVALID_ARGUMENT):
        await log.pull(from_time=log.times[0], cursor=1)


async def test_from_time_pages_on_by_cursor(log):
    page = await log.pull(from_time=log.times[9], limit=5)
    assert await log.seqs(cursor=page.next_cursor, limit=2) == [15, 16]


async def test_former_member_pulls_up_to_the_removal_and_no_further(server):
    async with registered(server.target) as alice, registered(server.target) as bob:
        group = await alice.make_group(bob)
        await alice.send(group, "1")
        removal = conversation_pb2.RemoveMembersRequest(conversation_id=group, members=[bob.name])
        await alice.call("RemoveMembers", removal)
        await alice.send(group, "3")
        page = await bob.pull(group)
        assert ([message.seq for message in page.messages], page.next_cursor, page.has_more) == ([1, 2], 3, False)
        async with refusal("CURSOR_BEYOND_END"):
            await bob.pull(group, cursor=4)
        latest = await bob.pull(group, reverse=True, limit=1)
        assert latest.messages[0].membership.action == message_pb2.MembershipChange.ACTION_REMOVED


async def test_history_that_is_hidden_from_new_members_is_not_pulled(server):
    async with registered(server.target) as alice, registered(server.target) as bob:
        group = await alice.make_group()
        await alice.call(
            "UpdateConversation",
            conversation_pb2.UpdateConversationRequest(conversation_id=group, history_visible=False),
        )
        await alice.send(group, "before")
        await alice.call("AddMembers", conversation_pb2.AddMembersRequest(conversation_id=group, members=[bob.name]))
        await alice.send(group, "after")
        assert [message.seq for message in (await bob.pull(group)).messages] == [2, 3]
        page = await bob.pull(group, reverse=True)
        assert ([message.seq for message in page.messages], page.next_cursor, page.has_more) == ([3, 2], 0, False)


@pytest.mark.parametrize("conversation_id", ["", "nosuchgroup", "alice:bobby", "a:b:c"])
async def test_conversation_that_is_not_the_callers_is_not_pulled(log, conversation_id):
    reason = "INVALID_REQUEST" if conversation_id in ("", "a:b:c") else "CONVERSATION_NOT_FOUND"
    async with refusal(reason):
        await log.owner.pull(conversation_id)
