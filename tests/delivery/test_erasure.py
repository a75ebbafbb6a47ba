"""A worker forgets what it keeps in memory of conversations whose stored messages were changed."""

from collections import deque
from datetime import timedelta

from parley.v1.chat_pb2 import ChatResponse

from service.delivery.erasure import ChangedContents, Eraser
from storage.postgres.accounts.erasure import Erasures
from storage.postgres.connections.database import Database
from storage.postgres.log.content_changes import KEEP, ContentChanges
from storage.records import Position
from tests.support.log import add_group
from tests.support.logs import add_users, delete_user, send
from tests.support.waiting import wait_for
from tests.support.worker import Worker, running_worker


async def empty_messages(database: Database, username: str) -> None:
    """Deletes the account and empties its messages."""

    async def leave_all(username: str) -> None:
        pass

    await delete_user(database, username)
    await Erasures(database).request_messages(username)
    await Eraser(Erasures(database), leave_all).finish(username, lambda count: None)


async def texts(worker: Worker, device_id: str) -> list[str]:
    """What bob's device gets that was never there."""
    reader = await worker.attach("bob", device_id)
    await wait_for(lambda: len(reader.seqs("g")) == 2, what="the replay")
    return [message.text for message in reader.read().messages]


async def test_replay_after_a_look_brings_the_log_as_it_is(database: Database, redis_url: str) -> None:
    await add_users(database, "ann", "bob", "carl")
    await add_group(database, "g", "carl", "ann", "bob")
    for _ in range(2):
        await send(database, "g", "ann", "secret")
    async with running_worker(database, redis_url) as worker:
        changed = ChangedContents(ContentChanges(database), worker.hub, worker.replayer.history)
        await changed.look()
        assert await texts(worker, "phone") == ["secret", "secret"]
        await empty_messages(database, "ann")
        assert await texts(worker, "tablet") == ["secret", "secret"], "from memory"
        await changed.look()
        assert await texts(worker, "desk") == ["", ""]


async def test_tail_of_a_live_channel_is_forgotten(database: Database, redis_url: str) -> None:
    await add_users(database, "ann", "bob", "carl")
    await add_group(database, "g", "carl", "ann", "bob")
    async with running_worker(database, redis_url) as worker:
        live = await worker.attach("bob", "live")
        for _ in range(2):
            await send(database, "g", "ann", "secret")
        worker.hub.note_last_seq("g", 2)
        await live.until("g", 1, 2)
        assert await texts(worker, "tablet") == ["secret", "secret"]
        await empty_messages(database, "ann")
        await ChangedContents(ContentChanges(database), worker.hub, worker.replayer.history).look()
        assert worker.hub.channels["g"].tail_after(0) is None
        assert await texts(worker, "desk") == ["", ""]
        assert live.seqs("g") == [1, 2]


async def test_memory_keeps_what_was_not_changed(database: Database, redis_url: str) -> None:
    """The part of the log that has the changed entry goes, and the tail from its beginning to that entry."""
    await add_users(database, "ann", "bob", "carl")
    await add_group(database, "g", "carl", "ann", "bob")
    async with running_worker(database, redis_url) as worker:
        live = await worker.attach("bob", "live")
        for sender in ("carl", "ann", "carl", "carl"):
            await send(database, "g", sender, "text")
        worker.hub.note_last_seq("g", 4)
        await live.until("g", 1, 2, 3, 4)
        history = worker.replayer.history
        for after_seq in (0, 2):
            await history.read_after([Position("g", after_seq)], limit_each=2)
        await empty_messages(database, "ann")
        await ChangedContents(ContentChanges(database), worker.hub, history).look()
        channel = worker.hub.channels["g"]
        assert (channel.tail_after(1), len(channel.tail_after(2) or [])) == (None, 2)
        count = history.read_count
        await history.read_after([Position("g", 2)], limit_each=2)
        assert history.read_count == count
        found = await history.read_after([Position("g", 1)], limit_each=2)
        assert history.read_count == count + 1
        assert [ChatResponse.FromString(item.body).messages[0].text for item in found["g"]] == [""]


async def test_seqs_of_changes_are_joined_and_an_unknown_one_means_all(database: Database) -> None:
    await database.execute(
        "INSERT INTO content_changes (conversation_id, seqs) VALUES"
        " ('g', '{1,3}'), ('g', '{2}'), ('h', '{1}'), ('h', NULL), ('h', '{2}')"
    )
    assert await ContentChanges(database).read() == {"g": {1, 2, 3}, "h": None}


async def test_changes_are_told_for_a_while_and_not_those_of_long_ago(database: Database) -> None:
    changes = ContentChanges(database)
    await database.execute(
        "INSERT INTO content_changes (conversation_id, create_time) VALUES"
        " ('old', clock_timestamp() - interval '1 minute'), ('new', clock_timestamp())"
    )
    assert await changes.read() == {"new": None}
    assert await changes.read() == {"new": None}, "a read of the log may have begun before the change"


async def test_change_whose_commit_comes_long_after_its_batch_is_told(database: Database) -> None:
    """As where it waits for a standby; and told again, for reads of the log that began before it."""
    changes = ContentChanges(database)
    assert await changes.read() == {}
    connection = await database.connect()
    try:
        async with connection.transaction():
            await connection.execute(
                "INSERT INTO content_changes (conversation_id, create_time)"
                " VALUES ('late', clock_timestamp() - interval '5 minutes')"
            )
            await database.execute("INSERT INTO content_changes (conversation_id) VALUES ('other')")
            assert await changes.read() == {"other": None}
        for _ in range(2):
            assert await changes.read() == {"late": None, "other": None}
    finally:
        await connection.close()


async def test_changes_of_before_are_not_told_for_ever(database: Database) -> None:
    changes = ContentChanges(database)
    await changes.read()
    await database.execute(
        "INSERT INTO content_changes (conversation_id, create_time)"
        " VALUES ('old', clock_timestamp() - interval '1 minute')"
    )
    assert await changes.read() == {"old": None}
    changes._reads = deque((time - timedelta(seconds=30), horizon) for time, horizon in changes._reads)
    assert await changes.read() == {"old": None}, "the last read was 30 s ago"
    assert await changes.read() == {}


async def test_nothing_is_known_after_a_failover(database: Database) -> None:
    changes = ContentChanges(database)
    assert await changes.read() == {}
    database.generation += 1
    assert await changes.read() is None
    assert await changes.read() == {}


async def test_worker_that_could_not_look_for_long_forgets_everything(database: Database, redis_url: str) -> None:
    await add_users(database, "ann", "bob")
    await add_group(database, "g", "ann", "bob")
    for _ in range(2):
        await send(database, "g", "ann", "hello")
    changes = ContentChanges(database)
    async with running_worker(database, redis_url) as worker:
        await changes.read()
        await texts(worker, "phone")
        assert worker.replayer.history.list_conversations() == ["g"]
        changes._reads = deque((time - KEEP, horizon) for time, horizon in changes._reads)
        await ChangedContents(changes, worker.hub, worker.replayer.history).look()
        assert worker.replayer.history.list_conversations() == []
        assert worker.replayer.history.size_bytes == 0
