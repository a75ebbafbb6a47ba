"""The verbs about acks, without a server: what moves a cursor, what is refused, and what a stream is told."""

from collections.abc import AsyncIterator, Callable

import pytest

from service.delivery.window import Window
from service.domain.errors import AckBeyondDelivered, ConversationNotFound, InvalidRequest, ParleyError, TooManyDevices
from service.messages.acks import AckService
from storage.postgres.connections.database import Database
from storage.postgres.devices.cursors import Cursors
from storage.postgres.log.epochs import Epochs
from storage.records import AckMode, DeviceMode
from tests.support.log import add_group
from tests.support.logs import add_users, send
from tests.support.waiting import wait_for
from tests.support.worker import Reader, Worker, running_worker


@pytest.fixture
async def db(database: Database) -> Database:
    """bob is in the groups g and h, of 3 messages each; cid is in neither."""
    await add_users(database, "ann", "bob", "cid")
    for group in ("g", "h"):
        await add_group(database, group, "ann", "bob")
        for _ in range(3):
            await send(database, group, "ann")
    return database


@pytest.fixture
async def worker(db: Database, redis_url: str) -> AsyncIterator[Worker]:
    async with running_worker(db, redis_url, has_bus=False) as running:
        yield running


async def cursors(db: Database, device_id: str = "phone", username: str = "bob") -> dict[str, int]:
    """The cursors of a device."""
    rows = await db.fetch(
        "SELECT conversation_id, acked_seq FROM cursors WHERE username = $1 AND device_id = $2 AND acked_seq > 0",
        username,
        device_id,
    )
    return {row["conversation_id"]: row["acked_seq"] for row in rows}


async def ack(worker: Worker, *positions: tuple[str, int], username: str = "bob", epoch: int = 0) -> None:
    await worker.ack_service.ack(username, "phone", positions, epoch=epoch)


def told(reader: Reader) -> list[tuple[int, str]]:
    """(correlation id, message) of each error that the stream was told."""
    return [(one.correlation_id, one.error.message) for one in reader.read().errors]


async def test_call_moves_cursors_to_the_highest_seq_of_each_conversation_and_never_back(worker, db):
    await ack(worker, ("g", 2), ("h", 1), ("g", 1))
    assert await cursors(db) == {"g": 2, "h": 1}
    await ack(worker, ("g", 1), ("h", 3))
    assert await cursors(db) == {"g": 2, "h": 3}


@pytest.mark.parametrize(
    ("position", "username", "refusal"),
    [
        (("g", 4), "bob", AckBeyondDelivered),
        (("absent", 1), "bob", ConversationNotFound),
        (("g", 1), "cid", ConversationNotFound),
    ],
)
async def test_call_refuses_as_a_whole_what_the_user_can_not_have(worker, db, position, username, refusal):
    with pytest.raises(refusal):
        await ack(worker, ("h", 1), position, username=username)
    assert await cursors(db, username=username) == {}


def service_of(
    worker: Worker,
    db: Database,
    *,
    epoch: int,
    max_devices: int = 100,
    on_acked: Callable[[str, str], None] = lambda *_: None,
) -> AckService:
    """The verbs of a worker that began with this epoch."""
    return AckService(
        Cursors(db),
        Epochs(db),
        worker.modes,
        worker.hub,
        worker.acks,
        settle=worker.manual.ack,
        settle_now=worker.manual.ack_now,
        on_acked=on_acked,
        epoch=epoch,
        max_devices=max_devices,
    )


async def test_call_of_another_epoch_may_acknowledge_what_both_have(worker, db):
    before = await Epochs(db).get_epoch()
    epoch = await Epochs(db).begin_epoch()
    await send(db, "g", "ann")
    never = epoch - 1
    with pytest.raises(AckBeyondDelivered):
        await ack(worker, ("g", 1), epoch=never)
    later = service_of(worker, db, epoch=epoch)
    with pytest.raises(AckBeyondDelivered):
        await later.ack("bob", "phone", [("g", 4)], epoch=before)
    await later.ack("bob", "phone", [("g", 3)], epoch=before)
    assert await cursors(db) == {"g": 3}
    await ack(worker, ("g", 4), epoch=epoch)  # this worker learns of the epoch by the call
    assert await cursors(db) == {"g": 4}


async def test_call_tells_of_the_cursors_that_moved(worker, db):
    moved: list[tuple[str, str]] = []
    epoch = await Epochs(db).get_epoch()
    service = service_of(worker, db, epoch=epoch, on_acked=lambda *who: moved.append(who))
    await service.ack("bob", "phone", [("g", 2)], epoch=0)
    await service.ack("bob", "phone", [("g", 1), ("h", 3)], epoch=0)
    assert moved == [("g", "bob"), ("h", "bob")]


async def test_call_for_a_device_too_many_is_refused(worker, db):
    service = service_of(worker, db, epoch=await Epochs(db).get_epoch(), max_devices=1)
    await service.ack("bob", "phone", [("g", 1)], epoch=0)
    with pytest.raises(TooManyDevices):
        await service.ack("bob", "tablet", [("g", 1)], epoch=0)


async def test_stream_may_acknowledge_what_came_and_is_told_of_the_rest(worker, db):
    reader = await worker.attach("bob")
    await reader.until("g", 1, 2, 3)
    await reader.until("h", 1, 2, 3)
    worker.ack_service.ack_on_stream(reader.session, [("g", 1), ("h", 9), ("absent", 1), ("g", 3)], 7)
    await worker.ack_service.settle("bob", "phone")
    assert await cursors(db) == {"g": 3}
    assert told(reader) == [(7, str(AckBeyondDelivered("h", 3))), (7, str(ConversationNotFound("absent")))]


async def test_acks_and_flow_open_the_window(worker):
    reader = Reader.of("bob", "phone")
    reader.session.configure("phone", no_echo=False, mode=DeviceMode(), window=Window(2, 0))
    await worker.subscriptions.attach(reader.session, {}, starts_at_latest=False, epoch=0)

    def came() -> int:
        worker.replayer.schedule(reader.session)
        return len(reader.read().messages)

    await wait_for(lambda: came() == 2, what="as many as the window has room for")
    first = reader.read().messages[0].conversation_id
    worker.ack_service.ack_on_stream(reader.session, [(first, 1)], 1)
    await wait_for(lambda: came() == 3, what="one more")
    with pytest.raises(InvalidRequest, match="which is 3"):
        worker.ack_service.flow(reader.session, 4)
    worker.ack_service.flow(reader.session, 3)
    await wait_for(lambda: came() == 5, what="two more")


async def open_manual(worker: Worker) -> Reader:
    """bob's phone with a stream with manual acks that holds what there is."""
    reader = Reader.of("bob", "phone")
    mode = DeviceMode(AckMode.MANUAL)
    reader.session.configure("phone", no_echo=False, mode=mode, window=None)
    await worker.manual.open(reader.session, window_messages=100, ack_deadline_seconds=60, starts_at_latest=False)
    await wait_for(lambda: len(reader.read().messages) == 6, what="all messages")
    return reader


async def unsettled(db: Database) -> set[tuple[str, int]]:
    """What the streams of bob's phone hold."""
    rows = await db.fetch("SELECT conversation_id, seq FROM deliveries WHERE username = 'bob' AND owner <> 0")
    return {(row["conversation_id"], row["seq"]) for row in rows}


async def test_manual_acks_settle_single_messages_by_a_call_and_by_a_stream(worker, db):
    reader = await open_manual(worker)
    await ack(worker, ("g", 2), ("g", 2))
    assert await unsettled(db) == {("g", 1), ("g", 3), ("h", 1), ("h", 2), ("h", 3)}
    worker.ack_service.ack_on_stream(reader.session, [("h", 3), ("h", 3), ("g", 1)], 5)
    assert reader.session.outbox.unanswered_count == 2, "each message once"
    await wait_for(lambda: not reader.session.outbox.unanswered_count, what="the answers")
    assert await unsettled(db) == {("g", 3), ("h", 1), ("h", 2)}
    assert told(reader) == []
    worker.ack_service.ack_on_stream(reader.session, [("absent", 3)], 6)
    await wait_for(lambda: not reader.session.outbox.unanswered_count, what="the answers")
    assert told(reader) == [(6, str(ConversationNotFound("absent")))]
    worker.manual.close_stream(reader.session, is_clean=True)


@pytest.mark.parametrize(
    ("position", "refusal"),
    [(("g", 0), InvalidRequest), (("g", 9), AckBeyondDelivered), (("absent", 1), ConversationNotFound)],
)
async def test_call_for_a_device_with_manual_acks_must_name_messages(worker, db, position, refusal):
    reader = await open_manual(worker)
    with pytest.raises(refusal):
        await ack(worker, position)
    assert len(await unsettled(db)) == 6
    worker.manual.close_stream(reader.session, is_clean=True)


async def test_stream_without_manual_acks_may_not_nack(worker):
    reader = await worker.attach("bob")
    with pytest.raises(ParleyError) as caught:
        worker.manual.check_manual(reader.session)
    assert caught.value.reason == "ACK_MODE_MISMATCH"
