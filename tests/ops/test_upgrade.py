"""From an earlier release to this one and back, on the same data, while the older server serves."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from parley.v1 import chat_pb2

from storage.postgres.schema.migrate import migration_files
from tests.ops.test_database_moves import TEXTS, Client, check, fill
from tests.support.databases import Backends
from tests.support.earlier_release import EarlierRelease
from tests.support.servers import RunningServer, running_server, wait_ready

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory with a short path, for sockets."""
    with tempfile.TemporaryDirectory(prefix="parley-upgrade-") as directory:
        yield Path(directory)


@pytest.fixture(scope="module")
def release() -> EarlierRelease:
    return EarlierRelease()


def test_data_directory_of_an_earlier_release_goes_on_and_the_way_back_loses_nothing(
    place: Path, release: EarlierRelease
) -> None:
    server = release.start(place / "data")
    try:
        wait_ready(server)
        expected = fill(server)
    finally:
        server.stop()
    with running_server(place / "data") as newer:
        check(newer, expected)
    older = release.start(place / "data")
    try:
        if set(migration_files()) > release.migrations:
            assert older.process.wait(60) == 1
            assert "the database is newer than this version" in older.text
        else:
            wait_ready(older)
    finally:
        older.stop()
    with running_server(place / "data") as newer:
        client = Client(newer.target)
        client.log_in()
        assert len(client.pull()) == len(TEXTS) + 1


def test_this_release_joins_one_of_before_that_serves_and_nothing_is_lost(
    place: Path, release: EarlierRelease, backends: Backends
) -> None:
    schema = "upgrade_beside"
    settings = {
        "PARLEY_DATABASE_URL": backends.postgres.url,
        "PARLEY_DATABASE_SCHEMA": schema,
        "PARLEY_REDIS_URL": backends.valkey.url,
    }
    older = release.start(place / "old", settings=settings)
    try:
        wait_ready(older)
        expected = fill(older)
        keys = settings | {"PARLEY_AUTH_KEYS_FILE": str(place / "old/keys.json")}
        with running_server(place / "new", settings=keys) as newer:
            _send_both_ways(older, newer, len(expected))
        client = Client(older.target)
        client.log_in()
        assert client.send("after", "after").message.seq == len(expected) + 7
        assert [message.seq for message in client.pull()] == list(range(1, len(expected) + 8))
    finally:
        older.stop()


def _send_both_ways(older: RunningServer, newer: RunningServer, count: int) -> None:
    """Each server's stream brings what was sent through the other, in order and once."""
    clients = [Client(older.target), Client(newer.target)]
    for client in clients:
        client.log_in()
    streams = [
        client.stub.Subscribe(
            chat_pb2.SubscribeRequest(hello=chat_pb2.Hello(device_id=f"device-{nth}", start=chat_pb2.START_LATEST)),
            metadata=client.metadata,
            timeout=60,
        )
        for nth, client in enumerate(clients)
    ]
    for stream in streams:
        while not any(mark.complete for mark in next(stream).caught_up):
            pass
    sent = [clients[nth % 2].send(f"text {nth}", f"both-{nth}").message.seq for nth in range(6)]
    assert sent == list(range(count + 1, count + 7))
    for stream in streams:
        brought: list[int] = []
        while len(brought) < len(sent):
            brought += [message.seq for message in next(stream).messages]
        assert brought == sent
        stream.cancel()
