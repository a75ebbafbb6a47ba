"""Manual delivery on one worker, on a real database and bus: what wakes it, what it tells others, what it costs."""

import secrets
from collections.abc import AsyncIterator

import pytest
from parley.v1 import chat_pb2

from service.consumers.service import ManualDelivery
from service.delivery.session import Session
from storage.errors import Unavailable
from storage.postgres.connections.database import Database
from storage.postgres.devices.deliveries import Claim, Deliveries, Nack, Place, Settlement
from storage.records import AckMode, DeviceMode
from tests.storage.test_deliveries import rows, setup, store
from tests.support.waiting import wait_for
from tests.support.worker import Reader, Worker, running_worker


@pytest.fixture
async def worker(database: Database, redis_url: str) -> AsyncIterator[Worker]:
    async with running_worker(database, redis_url) as running:
        yield running


async def opened(manual: ManualDelivery, *, starts_at_latest: bool = False) -> Reader:
    session = Session(secrets.randbits(62) | 1, "bob", "desk", mode=DeviceMode(AckMode.MANUAL))
    await manual.open(session, window_messages=250, ack_deadline_seconds=60.0, starts_at_latest=starts_at_latest)
    return Reader(session)


async def test_end_of_a_stream_that_held_something_is_told_to_other_workers(worker: Worker, database: Database) -> None:
    _, group = await setup(database, count=2)
    told: list[tuple[str, str]] = []
    manual = ManualDelivery(
        Deliveries(database, retry_seconds=[0.0]),
        worker.subscriptions,
        announce=lambda *key: told.append(key),
        on_acked=lambda *_: None,
    )
    reader = await opened(manual)
    await reader.until(group, 1, 2)
    manual.ack(reader.session, [(group, 1), (group, 2)], 7)
    await wait_for(lambda: not reader.session.outbox.unanswered_count)
    assert told == []
    await store(database, group, 1)
    worker.hub.note_last_seq(group, 3)
    await reader.until(group, 1, 2, 3)
    manual.close_stream(reader.session, is_clean=True)
    await wait_for(lambda: told == [("bob", "desk")])
    await manual.close()


async def test_acks_wait_while_the_database_is_away(worker: Worker, database: Database) -> None:
    _, group = await setup(database, count=3)

    class Flaky(Deliveries):
        failures = 0

        async def claim(
            self, username: str, device_id: str, places: "list[Place]", conversation_ids: "list[str]"
        ) -> Claim:
            self._fail_once()
            return await super().claim(username, device_id, places, conversation_ids)

        async def ack(self, *arguments):  # type: ignore[no-untyped-def]
            self._fail_once()
            return await super().ack(*arguments)

        def _fail_once(self) -> None:
            if self.failures:
                self.failures -= 1
                raise Unavailable("away")

    flaky = Flaky(database, retry_seconds=[])
    flaky.failures = 1
    manual = ManualDelivery(flaky, worker.subscriptions, announce=lambda *_: None, on_acked=lambda *_: None)
    reader = await opened(manual)
    await reader.until(group, 1, 2, 3)
    flaky.failures = 2
    manual.ack(reader.session, [(group, 1), (group, 2), (group, 3)], 7)

    async def are_settled() -> bool:
        return await rows(database) == 0

    await wait_for(are_settled)
    assert not flaky.failures
    manual.close_stream(reader.session, is_clean=True)
    await manual.close()


async def test_nothing_to_do_costs_one_statement_a_tick(worker: Worker, database: Database) -> None:
    await setup(database, count=0)
    manual = ManualDelivery(
        Deliveries(database, retry_seconds=[]),
        worker.subscriptions,
        announce=lambda *_: None,
        on_acked=lambda *_: None,
    )
    await manual.tick()
    reader = await opened(manual)
    await reader.until("none")
    before = database.statement_count
    await manual.tick()
    manual.schedule(reader.session)
    assert database.statement_count - before <= 2  # the first look at what is due, and the tick's
    assert reader.read() == chat_pb2.ChatResponse()
    manual.close_stream(reader.session, is_clean=True)
    await manual.close()


async def test_new_device_that_starts_at_the_latest_is_given_nothing_of_before(
    worker: Worker, database: Database
) -> None:
    """Also where its user has read something, from which it would begin otherwise."""
    _, group = await setup(database, count=3)
    await database.execute("UPDATE members SET read_seq = 1 WHERE username = 'bob'")
    manual = ManualDelivery(
        Deliveries(database, retry_seconds=[]),
        worker.subscriptions,
        announce=lambda *_: None,
        on_acked=lambda *_: None,
    )
    reader = await opened(manual, starts_at_latest=True)
    await store(database, group, 1)
    worker.hub.note_last_seq(group, 4)
    await reader.until(group, 4)
    manual.close_stream(reader.session, is_clean=True)
    await manual.close()


async def test_claim_whose_answer_is_lost_is_taken_back_and_does_not_count(worker: Worker, database: Database) -> None:
    _, group = await setup(database, count=3)

    class Deaf(Deliveries):
        claims_to_lose = 1

        async def claim(
            self, username: str, device_id: str, places: "list[Place]", conversation_ids: "list[str]"
        ) -> Claim:
            claimed = await super().claim(username, device_id, places, conversation_ids)
            if claimed.deliveries and self.claims_to_lose:
                self.claims_to_lose -= 1
                raise Unavailable("away")
            return claimed

    deaf = Deaf(database, retry_seconds=[])
    manual = ManualDelivery(deaf, worker.subscriptions, announce=lambda *_: None, on_acked=lambda *_: None)
    reader = await opened(manual)
    await reader.until(group, 1, 2, 3)
    deaf.claims_to_lose = 1
    await store(database, group, 2)
    worker.hub.note_last_seq(group, 5)
    await reader.until(group, 1, 2, 3, 4, 5)  # what it holds does not come again
    assert [message.delivery_attempt for message in reader.read().messages] == [1] * 5
    manual.close_stream(reader.session, is_clean=True)
    await manual.close()


async def test_nack_whose_answer_is_lost_is_not_refused_for_having_had_its_effect(
    worker: Worker, database: Database
) -> None:
    _, group = await setup(database, count=2)

    class Deaf(Deliveries):
        nacks_to_lose = 1

        async def nack(self, *arguments):  # type: ignore[no-untyped-def]
            settlements = await super().nack(*arguments)
            if self.nacks_to_lose:
                self.nacks_to_lose -= 1
                raise Unavailable("away")
            return settlements

    manual = ManualDelivery(
        Deaf(database, retry_seconds=[0.0]), worker.subscriptions, announce=lambda *_: None, on_acked=lambda *_: None
    )
    reader = await opened(manual)
    await reader.until(group, 1, 2)
    manual.nack(reader.session, [Nack(group, 1, reader.session.session_id, "no", None)], 7)
    await reader.until(group, 1, 2, 1)
    assert not reader.read().errors
    manual.nack(reader.session, [Nack(group, 1, 4711, "not mine", None)], 8)
    await wait_for(lambda: [error.correlation_id for error in reader.read().errors] == [8])
    manual.close_stream(reader.session, is_clean=True)
    await manual.close()


async def test_message_that_is_acked_twice_at_once_is_once_in_a_statement_and_each_ack_is_answered(
    worker: Worker, database: Database
) -> None:
    _, group = await setup(database, count=2)
    batches: list[list[tuple[str, int]]] = []

    class Watched(Deliveries):
        async def ack(self, username: str, device_id: str, positions: "list[tuple[str, int]]") -> "list[Settlement]":
            batches.append([(name, seq) for name, seq in positions])
            return await super().ack(username, device_id, positions)

    manual = ManualDelivery(
        Watched(database, retry_seconds=[]), worker.subscriptions, announce=lambda *_: None, on_acked=lambda *_: None
    )
    reader = await opened(manual)
    await reader.until(group, 1, 2)
    outbox = reader.session.outbox
    for correlation_id, seqs in ((7, (1, 9)), (8, (9, 2)), (9, (1,))):  # in one step of the event loop
        manual.ack(reader.session, [(group, seq) for seq in seqs], correlation_id)
    assert outbox.unanswered_count == 5
    await wait_for(lambda: outbox.unanswered_count == 0)
    assert [[seq for _, seq in batch] for batch in batches] == [[1, 9], [9, 2, 1]]
    assert [error.correlation_id for error in reader.read().errors] == [7, 8]  # 9 never came; a repeated ack is right
    manual.close_stream(reader.session, is_clean=True)
    await manual.close()
