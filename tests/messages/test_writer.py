"""Group commit on a real database: order, locked conversations, bad data, lost answers, full queues, the end."""

import asyncio
from collections.abc import Callable, Sequence

import pytest

from service.domain import errors
from service.domain.errors import ParleyError
from service.messages import lane_queue as module
from service.messages.submission import Submission
from storage.errors import OutcomeUnknown
from storage.postgres.connections.database import Database
from storage.postgres.log.append import Appender
from storage.records import Draft, Stored
from tests.support.desks import Ticket, desk, shown
from tests.support.log import add_group, draft, locked, log_of, wait_until_blocked
from tests.support.logs import add_users, delete_user
from tests.support.waiting import wait_for


@pytest.fixture
async def db(database: Database) -> Database:
    """ann and bob are in the groups g and h."""
    await add_users(database, "ann", "bob", "cid")
    for group in ("g", "h"):
        await add_group(database, group, "ann", "bob")
    return database


async def test_what_is_submitted_is_stored_in_order_and_announced_before_it_is_told(db):
    async with desk(db) as at:
        outcomes = await at.store(*(draft("g", "ann", str(nth)) for nth in range(1200)))
        assert shown(outcomes) == list(range(1, 1201))
        assert at.announced == [("g", seq) for seq in range(1, 1201)]
        assert [text for _, text in await log_of(db, "g")] == [str(nth) for nth in range(1200)]


class Counts(Appender):
    """A connection that notes the size of each batch."""

    sizes: list[int]

    async def store(self, drafts: Sequence[Draft]) -> list[Stored]:
        self.sizes.append(len(drafts))
        return await super().store(drafts)


async def test_what_arrives_while_a_batch_is_in_flight_becomes_one_batch(db):
    connection = Counts(db, lock_timeout_ms=20_000)
    connection.sizes = []
    async with desk(db, connect=lambda _: connection) as at:
        async with locked(db, "g"):
            first = at.submit(draft("g", "ann"))
            await wait_until_blocked(db)
            rest = [at.submit(draft("g", "ann")) for _ in range(50)]
        for ticket in (first, *rest):
            await ticket.wait(0)
    assert connection.sizes == [1, 50]


class Answers(Ticket):
    """Whoever sends the next message when the one before is answered."""

    submit_next: Callable[[], object]

    def settle(self, index: int, outcome: Stored | ParleyError) -> None:
        super().settle(index, outcome)
        asyncio.get_running_loop().call_soon(self.submit_next)


async def test_what_answers_a_batch_joins_those_that_waited_behind_it(db):
    connection = Counts(db, lock_timeout_ms=20_000)
    connection.sizes = []
    async with desk(db, connect=lambda _: connection) as at:
        ticket, late = Answers(), []
        ticket.submit_next = lambda: late.append(at.submit(draft("g", "ann")))
        async with locked(db, "g"):
            at.writer.submit([Submission(draft("g", "ann"), b"", ticket, 0)])
            await wait_until_blocked(db)
            rest = [at.submit(draft("g", "ann")) for _ in range(2)]
        for one in (ticket, *rest, *late):
            await one.wait(0)
    assert connection.sizes == [1, 3]


async def test_each_refusal_tells_its_reason(db):
    await delete_user(db, "cid")
    async with desk(db) as at:
        await at.store(draft("g", "ann", "a", request_id="r"))
        outcomes = await at.store(
            draft("g", "ann", "a", request_id="r"),
            draft("g", "ann", "b", request_id="r"),
            draft("g", "cid"),
            draft("nosuchgroup", "ann"),
            draft("g", "ann", reply_to_seq=9),
            draft("ann:cid", "ann"),
            draft("g", "ann"),
        )
    assert shown(outcomes) == [
        -1,
        "REQUEST_ID_REUSED",
        "CONVERSATION_NOT_FOUND",
        "CONVERSATION_NOT_FOUND",
        "REPLY_NOT_FOUND",
        "USER_NOT_FOUND",
        2,
    ]


async def test_locked_conversation_waits_alone_and_the_others_go_on(db):
    async with desk(db) as at:
        async with locked(db, "g"):
            mixed = at.submit(draft("g", "ann", "1"), draft("h", "ann"), draft("g", "ann", "2"))
            assert shown(await mixed.wait(1)) == [1]
            later = at.submit(draft("g", "bob", "3"), draft("h", "bob"))
            assert shown(await later.wait(1)) == [2]
            assert set(mixed.outcomes) == {1}
            assert set(later.outcomes) == {1}
        assert shown(await mixed.wait(0, 2)) == [1, 2]
        assert shown(await later.wait(0)) == [3]
        # The blocked lane is gone: the next message takes the lane again.
        await wait_for(lambda: not at.writer._blocked_lanes, what="the end of the blocked lane")
        assert shown(await at.store(draft("g", "ann", "4"))) == [4]
        assert [text for _, text in await log_of(db, "g")] == ["1", "2", "3", "4"]


async def test_order_holds_across_blocked_lanes_that_come_and_go(db):
    async with desk(db, lanes=2) as at:
        tickets = []
        for nth in range(3):
            async with locked(db, "g"):
                for turn in range(40):
                    tickets.append(at.submit(draft("g", "ann", f"{nth}.{turn}"), draft("h", "ann")))
                    if turn % 10 == 0:
                        await wait_until_blocked(db)
                await tickets[-1].wait(1)
        outcomes = [outcome for ticket in tickets for outcome in await ticket.wait(0)]
    assert shown(outcomes) == list(range(1, 121))


async def test_bad_data_is_refused_alone(db):
    bad = draft("g", "ann", "nul\0")
    drafts = [draft("g" if nth % 2 else "h", "ann", str(nth)) for nth in range(20)]
    drafts[7:7] = [bad]
    async with desk(db) as at:
        outcomes = await at.store(*drafts)
        assert [nth for nth, one in enumerate(outcomes) if isinstance(one, ParleyError)] == [7]
        assert isinstance(outcomes[7], errors.InvalidRequest)
    assert [seq for seq, _ in await log_of(db, "g")] == list(range(1, 11))
    assert [text for _, text in await log_of(db, "g")] == [str(nth) for nth in range(1, 20, 2)]


async def test_order_holds_when_a_halved_batch_meets_a_locked_conversation(db):
    """The first half goes to the blocked lane; the second half, and what waits behind the batch, must go behind it."""
    async with desk(db) as at:
        async with locked(db, "g"):
            batch = at.submit(draft("g", "ann", "1"), draft("h", "ann", "bad\0"), draft("g", "ann", "2"))
            await wait_until_blocked(db)
            behind = at.submit(draft("g", "ann", "3"), draft("h", "ann"))
            await behind.wait(1)
        assert shown(await batch.wait(0, 1, 2) + await behind.wait(0)) == [1, "INVALID_REQUEST", 2, 3]
        assert [text for _, text in await log_of(db, "g")] == ["1", "2", "3"]


class Gated(Appender):
    """A connection that stores when it may."""

    def __init__(self, database: Database, gate: asyncio.Event) -> None:
        super().__init__(database, lock_timeout_ms=2000)
        self.gate = gate

    async def store(self, drafts: Sequence[Draft]) -> list[Stored]:
        await self.gate.wait()
        return await super().store(drafts)


async def test_order_holds_when_the_lock_ends_before_the_blocked_lane_has_stored(db):
    gate = asyncio.Event()

    def connect(lock_timeout_ms: int) -> Appender:
        is_blocked_lane = lock_timeout_ms > 1000
        return Gated(db, gate) if is_blocked_lane else Appender(db, lock_timeout_ms=lock_timeout_ms)

    async with desk(db, connect=connect) as at:
        async with locked(db, "g"):
            batch = at.submit(draft("g", "ann", "1"), draft("h", "ann", "bad\0"), draft("g", "ann", "2"))
            await wait_for(lambda: at.writer._blocked_lanes, what="the blocked lane")
        behind = at.submit(draft("h", "ann"), draft("g", "ann", "3"))
        await batch.wait(1)
        await behind.wait(0)
        assert set(batch.outcomes) == {1}
        gate.set()
        assert shown(await batch.wait(0, 2) + await behind.wait(1)) == [1, 2, 3]
        assert [text for _, text in await log_of(db, "g")] == ["1", "2", "3"]


async def test_full_queue_refuses_a_frame_whole_and_at_once(db):
    async with desk(db, max_queued=12) as at:  # a sender may hold a quarter
        async with locked(db, "g"):
            first = at.submit(draft("g", "ann"), draft("g", "ann"))
            with pytest.raises(errors.Overloaded):
                at.submit(draft("h", "ann"), draft("h", "ann"))
            third = at.submit(draft("h", "ann"))
            with pytest.raises(errors.Overloaded):
                at.submit(draft("h", "ann"))
        await first.wait(0, 1)
        await third.wait(0)
        assert shown(await at.store(*(draft("h", "ann") for _ in range(3)))) == [2, 3, 4]
        assert at.writer.queued_count == 0


async def test_request_whose_deadline_has_passed_joins_no_batch(db):
    now = asyncio.get_running_loop().time()
    async with desk(db) as at:
        late = at.submit(draft("g", "ann", "late"), deadline=now - 0.001)
        in_time = at.submit(draft("g", "ann", "in time"), deadline=now + 60)
        assert shown(await late.wait(0) + await in_time.wait(0)) == ["DEADLINE_PASSED", 1]
    assert await log_of(db, "g") == [(1, "in time")]


async def test_backend_that_is_killed_in_a_batch_costs_nothing(db):
    async with desk(db) as at:
        async with locked(db, "g"):
            ticket = at.submit(draft("g", "ann", "a"), draft("h", "bob", "b"))
            (backend,) = await wait_until_blocked(db)
            await db.fetchval("SELECT pg_terminate_backend($1)", backend)
            await wait_until_blocked(db)
        assert shown(await ticket.wait(0, 1)) == [1, 1]
        assert sorted(at.announced) == [("g", 1), ("h", 1)]
    assert (await log_of(db, "g"), await log_of(db, "h")) == ([(1, "a")], [(1, "b")])


class LosesAnswers(Appender):
    """A connection that breaks after the commit, before the answer, as often as it is told to."""

    losses = 0

    async def store(self, drafts: Sequence[Draft]) -> list[Stored]:
        answers = await super().store(drafts)
        if self.losses:
            self.losses -= 1
            self.discard()
            raise OutcomeUnknown("the answer was lost")
        return answers


async def test_answer_that_was_lost_after_the_commit_is_told_and_announced_as_new(db):
    connection = LosesAnswers(db)
    async with desk(db, connect=lambda _: connection) as at:
        await at.store(draft("g", "ann", "old", request_id="old"))
        connection.losses = 2
        outcomes = await at.store(
            draft("g", "ann", "a", request_id="r"),
            draft("g", "ann", "a", request_id="r"),
            draft("g", "ann", "b", request_id="r"),
            draft("g", "bob", "b"),
        )
        # The second one is a repeat of the first, whatever became of the answer.
        assert shown(outcomes) == [2, -2, "REQUEST_ID_REUSED", 3]
        assert at.announced == [("g", 1), ("g", 2), ("g", 3)]
    assert await log_of(db, "g") == [(1, "old"), (2, "a"), (3, "b")]


@pytest.mark.parametrize(("is_lost", "refusal"), [(True, errors.RetryExhausted), (False, errors.DatabaseUnavailable)])
async def test_what_waited_too_long_is_given_back(db, monkeypatch, is_lost, refusal):
    monkeypatch.setattr(module, "GIVE_UP_SECONDS", 0.1)
    connection = LosesAnswers(db if is_lost else Database("postgresql://nobody@127.0.0.1:1/x"))
    connection.losses = 1000
    async with desk(db, connect=lambda _: connection) as at:
        (outcome,) = await at.store(draft("g", "ann"))
    assert type(outcome) is refusal


class Unforeseen(Appender):
    """A connection that fails in a way that nobody thought of, once."""

    has_failed = False

    async def store(self, drafts: Sequence[Draft]) -> list[Stored]:
        if not self.has_failed:
            self.has_failed = True
            raise ZeroDivisionError
        return await super().store(drafts)


async def test_lane_outlives_what_nobody_thought_of(db):
    connection = Unforeseen(db)
    async with desk(db, connect=lambda _: connection) as at:
        assert shown(await at.store(draft("g", "ann"))) == ["INTERNAL"]
        assert shown(await at.store(draft("g", "ann"))) == [1]


async def test_close_stores_what_waits(db):
    async with desk(db) as at:
        async with locked(db, "g"):
            ticket = at.submit(draft("g", "ann"), draft("h", "ann"))
            await wait_until_blocked(db)
            behind = at.submit(draft("h", "ann"))
            closing = asyncio.create_task(at.writer.close(3600))
            await ticket.wait(1)
            with pytest.raises(errors.ShuttingDown):
                at.submit(draft("h", "ann"))
        async with asyncio.timeout(10):
            await closing
        assert shown(await ticket.wait(0, 1) + await behind.wait(0)) == [1, 1, 2]


async def test_close_gives_back_what_it_can_not_store_in_time(db):
    async with desk(db) as at:
        async with locked(db, "g"):
            in_flight = at.submit(draft("g", "ann"))
            await wait_until_blocked(db)
            waiting = at.submit(draft("h", "ann"), draft("g", "ann"))
            await at.writer.close(0)
            # What is in flight may be stored yet; what waits is not.
            assert shown(await in_flight.wait(0)) == ["RETRY_EXHAUSTED"]
            assert shown(await waiting.wait(0, 1)) == ["SHUTTING_DOWN", "SHUTTING_DOWN"]
        assert at.writer.queued_count == 0
    assert await log_of(db, "h") == []


async def test_first_sends_make_the_direct_conversation_once_a_batch(db):
    async with desk(db, lanes=2) as at:
        outcomes = await at.store(
            draft("ann:bob", "ann", "1"),
            draft("g", "ann"),
            draft("ann:bob", "bob", "2"),
            draft("ann:nobody", "ann"),
            draft("ann:bob", "ann", "3"),
        )
        assert shown(outcomes) == [1, 1, 2, "USER_NOT_FOUND", 3]
        assert sorted(at.made) == ["ann:bob", "ann:nobody"]
        assert shown(await at.store(draft("ann:bob", "bob", "4"))) == [4]
        assert sorted(at.made) == ["ann:bob", "ann:nobody"]


async def test_first_sends_on_two_workers_at_once_make_one_conversation(db):
    async with desk(db) as one, desk(db) as other:
        outcomes = await asyncio.gather(one.store(draft("ann:bob", "ann")), other.store(draft("ann:bob", "bob")))
    assert sorted(shown([outcome for (outcome,) in outcomes])) == [1, 2]
