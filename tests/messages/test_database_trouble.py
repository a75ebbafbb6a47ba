"""What the writer promises while PostgreSQL is killed, hangs, fails over, is locked or full.

Senders follow the rule of the contract: what is refused for a while is sent again under the same request id.
"""

import asyncio
import contextlib
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from service.domain import errors
from service.messages import lane_queue as lane_module
from storage.errors import Unavailable
from storage.postgres.connections.database import Database
from storage.postgres.schema.migrate import migrate
from storage.records import Stored
from tests.support.cluster import Cluster, Node, running_cluster, running_node
from tests.support.databases import watched_database
from tests.support.desks import Desk, Ticket, desk, shown
from tests.support.log import add_group, draft, log_of
from tests.support.logs import add_users
from tests.support.waiting import wait_for

GROUPS = ("g", "h", "i")


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    """A server that the tests of this module hurt; each leaves it running."""
    with running_node() as running:
        asyncio.run(migrate(running.url))
        yield running


async def fill(database: Database) -> None:
    """ann is in the groups, which are empty."""
    await database.execute("TRUNCATE users, conversations, members, messages, commit_feed CASCADE")
    await add_users(database, "ann")
    for group in GROUPS:
        await add_group(database, group, "ann")


@pytest.fixture
async def db(node: Node) -> AsyncIterator[Database]:
    async with watched_database(node.url, command_timeout_seconds=1.0) as database:
        await fill(database)
        yield database


@dataclass(slots=True)
class Senders:
    """Senders to each group that go on until they are told to stop; and what was acknowledged to them."""

    at: Desk
    acknowledged: dict[str, list[tuple[int, str]]] = field(default_factory=lambda: {group: [] for group in GROUPS})
    refused_count: int = 0
    is_over: bool = False

    def is_held_up(self) -> bool:
        """Whether something could not be stored at the last attempt."""
        return any(lane.queue.is_retrying for lane in self.at.writer._lanes)

    async def run(self, group: str) -> None:
        number = 0
        while not self.is_over:
            text = f"{group} {number}"
            answer = await self._send_until_stored(group, text)
            self.acknowledged[group].append((answer.seq, text))
            number += 1

    async def _send_until_stored(self, group: str, text: str) -> Stored:
        while True:
            with contextlib.suppress(errors.DatabaseUnavailable):
                (outcome,) = await self.at.submit(draft(group, "ann", text, request_id=text)).wait(0, limit_seconds=30)
                if isinstance(outcome, Stored):
                    return outcome
                assert isinstance(outcome, (errors.RetryExhausted, errors.DatabaseUnavailable)), outcome
            self.refused_count += 1
            await asyncio.sleep(0.1)

    async def until_more(self, count: int = 20) -> None:
        """Waits until each sender got some more acknowledged."""
        before = {group: len(acknowledged) for group, acknowledged in self.acknowledged.items()}
        await wait_for(
            lambda: all(len(self.acknowledged[group]) >= before[group] + count for group in GROUPS),
            limit_seconds=30,
            what="more acknowledged messages",
        )


@contextlib.asynccontextmanager
async def sending(database: Database) -> AsyncIterator[Senders]:
    """Keeps senders going; at the end, all that was acknowledged is in the log, each once, without a hole."""
    async with desk(database, lanes=2, pause=database.outage.pause) as at:
        senders = Senders(at)
        async with asyncio.TaskGroup() as group:
            for name in GROUPS:
                group.create_task(senders.run(name))
            try:
                await senders.until_more()
                yield senders
            finally:
                senders.is_over = True
    for name in GROUPS:
        log = await log_of(database, name)
        assert log == senders.acknowledged[name]
        assert [seq for seq, _ in log] == list(range(1, len(log) + 1))
        assert sorted(set(at.announced)) == sorted(at.announced)


async def test_killed_server_that_comes_back_costs_no_message(node: Node, db: Database):
    async with sending(db) as senders:
        await asyncio.to_thread(node.kill)
        await wait_for(lambda: db.outage.is_away, what="the absence")
        await asyncio.to_thread(node.start)
        await senders.until_more()


async def test_server_that_hangs_and_goes_on_costs_no_message(node: Node, db: Database):
    async with sending(db) as senders:
        node.freeze()
        try:
            await wait_for(lambda: db.outage.is_away, what="the absence")
        finally:
            node.thaw()
        await senders.until_more()


async def test_locked_table_is_waited_for(node: Node, db: Database):
    async with sending(db) as senders:
        async with db.transaction() as connection:
            await connection.execute("LOCK TABLE messages")
            await wait_for(lambda: len(senders.at.writer._blocked_lanes) == len(GROUPS), what="all on blocked lanes")
        await senders.until_more()


async def test_missing_standby_leaves_one_waiting_backend_a_lane_and_no_more(
    node: Node, db: Database, monkeypatch: pytest.MonkeyPatch
):
    """Each further attempt that ran into its time limit would take a connection, until none is left for reading."""
    monkeypatch.setattr(lane_module, "GIVE_UP_SECONDS", 0.5)
    async with sending(db) as senders:
        node.require_standby("nobody")
        try:
            await wait_for(lambda: senders.refused_count >= 10, limit_seconds=30, what="refusals")
            waiting = node.sql("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
        finally:
            node.require_standby("")
        await senders.until_more()
    assert 1 <= int(waiting) <= 2


@pytest.fixture
def small_disk(node: Node) -> Iterator[Path]:
    """A file system of 4 MiB that PostgreSQL may write to."""
    directory = Path(tempfile.mkdtemp(prefix="parley-disk-"))
    directory.chmod(0o711)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m,mode=0777", "none", str(directory)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        directory.rmdir()
        pytest.skip("mounting a small file system is not allowed here")
    try:
        place = directory / "tablespace"
        place.mkdir(mode=0o777)
        node.own(place)
        yield place
    finally:
        subprocess.run(["umount", str(directory)], check=True)
        directory.rmdir()


async def test_full_disk_stores_nothing_and_all_goes_on_when_there_is_room(node: Node, db: Database, small_disk: Path):
    node.sql(f"CREATE TABLESPACE small LOCATION '{small_disk}'")
    try:
        node.sql("ALTER TABLE parley.messages SET TABLESPACE small")
        async with sending(db) as senders:
            filler = small_disk / "filler"
            with pytest.raises(OSError, match="No space"):
                filler.write_bytes(b"x" * 8 * 1024 * 1024)
            await wait_for(senders.is_held_up, limit_seconds=30, what="a lane that can't store")
            assert await db.fetchval("SELECT count(*) FROM messages") > 0  # reading goes on
            filler.unlink()
            await senders.until_more()
    finally:
        node.sql("ALTER TABLE parley.messages SET TABLESPACE pg_default")
        node.sql("DROP TABLESPACE small")


async def test_sends_are_refused_at_once_when_nothing_could_be_stored_for_a_while(
    node: Node, db: Database, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(lane_module, "REFUSE_SECONDS", 0.3)
    async with desk(db, pause=db.outage.pause) as at:
        assert shown(await at.store(draft("g", "ann"))) == [1]
        await asyncio.to_thread(node.kill)
        waiting = at.submit(draft("g", "ann", "waits"))

        def is_refused() -> bool:
            try:
                later.append(at.submit(draft("g", "ann", f"later {len(later)}")))
            except errors.DatabaseUnavailable:
                return True
            return False

        later: list[Ticket] = []
        await wait_for(is_refused, what="a refusal")
        await asyncio.to_thread(node.start)
        assert shown(await waiting.wait(0)) == [2]
        for nth, ticket in enumerate(later):
            assert shown(await ticket.wait(0)) == [3 + nth]
        assert shown(await at.store(draft("g", "ann", "after"))) == [3 + len(later)]


async def test_what_waited_too_long_is_given_back_without_an_attempt_each(
    node: Node, db: Database, monkeypatch: pytest.MonkeyPatch
):
    """A hung server costs a statement's time limit once, not once a batch."""
    monkeypatch.setattr(lane_module, "GIVE_UP_SECONDS", 0.5)
    monkeypatch.setattr(lane_module, "MAX_BATCH", 1)
    async with desk(db, pause=db.outage.pause) as at:
        assert shown(await at.store(draft("g", "ann"))) == [1]
        node.freeze()
        try:
            ticket = at.submit(*(draft("g", "ann", str(nth)) for nth in range(50)))
            outcomes = await ticket.wait(*range(50))
        finally:
            node.thaw()
    assert shown(outcomes)[0] == "RETRY_EXHAUSTED"
    assert set(shown(outcomes)[1:]) == {"DATABASE_UNAVAILABLE"}
    assert [text for _, text in await log_of(db, "g")] in (["hello"], ["hello", "0"])


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A primary and its synchronous standby."""
    with running_cluster() as running:
        asyncio.run(migrate(running.url))
        yield running


async def test_promoted_standby_has_all_that_was_acknowledged_and_the_old_primary_is_refused(cluster: Cluster):
    async with watched_database(cluster.url, command_timeout_seconds=2.0) as db:
        await fill(db)
        async with sending(db) as senders:
            await asyncio.to_thread(cluster.primary.kill)
            await asyncio.to_thread(cluster.promote)
            await senders.until_more()
            await asyncio.to_thread(cluster.revive_old)
            db.expire()  # every connection is made anew, while both servers take writes
            await senders.until_more()
            await asyncio.to_thread(cluster.rebuild_standby)
            await senders.until_more()
        (timeline,) = db.primary.timelines.values()
        assert timeline == cluster.primary.timeline


async def test_old_primary_that_is_there_alone_is_not_used(cluster: Cluster):
    async with watched_database(cluster.url) as db:
        await fill(db)
        await asyncio.to_thread(cluster.primary.kill)
        await asyncio.to_thread(cluster.promote)
        await wait_for(lambda: can_read(db), what="the new primary")
        await asyncio.to_thread(cluster.primary.kill)
        await asyncio.to_thread(cluster.revive_old)
        with pytest.raises(Unavailable, match="former primary"):
            await Database.connect(db)
        await asyncio.to_thread(cluster.primary.start)
        await wait_for(lambda: can_read(db), what="the new primary")
        # Another worker that was told of the new timeline refuses the old primary too, whichever it finds first.
        other = Database(f"postgresql://postgres@/postgres?host={cluster.standby.host}&port=5432")
        (await other.connect()).terminate()
        for cluster_id, seen in db.primary.timelines.items():
            other.primary.note_timeline(cluster_id, seen)
        with pytest.raises(Unavailable, match="former primary"):
            await other.connect()


async def timeline_of(db: Database) -> int:
    """The timeline of the server in use; waits for one."""

    async def look() -> int:
        try:
            return int((await db.fetchval("SELECT pg_walfile_name(pg_current_wal_lsn())"))[:8], 16)
        except Unavailable:
            return 0

    return int(await wait_for(look, what="a server"))


async def test_old_primary_that_is_back_before_anybody_looked_is_not_used(cluster: Cluster):
    async with watched_database(cluster.url) as db:
        await fill(db)
        assert await timeline_of(db) == 1
        await asyncio.to_thread(cluster.primary.kill)
        await asyncio.to_thread(cluster.promote)
        await asyncio.to_thread(cluster.revive_old)  # it was the last primary, and its timeline is the highest known
        assert await timeline_of(db) == 2


async def test_newer_primary_that_is_found_later_is_taken_instead(cluster: Cluster):
    async with watched_database(cluster.url) as db:
        await fill(db)
        await asyncio.to_thread(cluster.primary.kill)
        await asyncio.to_thread(cluster.promote)
        await asyncio.to_thread(cluster.primary.kill)
        await asyncio.to_thread(cluster.revive_old)
        assert await timeline_of(db) == 1, "nobody can know better while the new one is away"
        await asyncio.to_thread(cluster.primary.start)
        await db.primary.look_around()
        assert await timeline_of(db) == 2


async def test_hung_primary_whose_standby_was_promoted_is_left(cluster: Cluster):
    async with watched_database(cluster.url, command_timeout_seconds=2.0) as db:
        await fill(db)
        async with sending(db) as senders:
            cluster.primary.freeze()
            await asyncio.to_thread(cluster.promote)
            await senders.until_more()
            cluster.standby.thaw()  # it goes on as if it were the primary
            await senders.until_more()
        assert db.primary.timelines[next(iter(db.primary.timelines))] == cluster.primary.timeline


async def can_read(database: Database) -> bool:
    try:
        return bool(await database.fetchval("SELECT true"))
    except Unavailable:
        return False
