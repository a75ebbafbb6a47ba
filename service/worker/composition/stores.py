"""Opens the two databases and makes everything that reads or writes them."""

from dataclasses import dataclass

from service.domain.retry import RetrySchedule
from service.settings.tree import Settings
from storage.postgres.accounts.accounts import Accounts
from storage.postgres.accounts.erasure import Erasures
from storage.postgres.connections.database import Database
from storage.postgres.conversations.conversations import Conversations
from storage.postgres.conversations.members import Members
from storage.postgres.devices.cursors import Cursors
from storage.postgres.devices.dead_letters import DeadLetters
from storage.postgres.devices.deliveries import Deliveries
from storage.postgres.devices.devices import Devices
from storage.postgres.log.content_changes import ContentChanges
from storage.postgres.log.epochs import Epochs
from storage.postgres.log.feed import Feed
from storage.postgres.log.messages import Messages
from storage.postgres.schema.migrate import read_deployment
from storage.postgres.schema.turns import Turns
from storage.postgres.schema.upkeep import Upkeep
from storage.records import Deployment
from storage.redis.servers import Servers
from storage.redis.timelines import TimelineStore


@dataclass(frozen=True, slots=True)
class Stores:
    """The databases, and everything that reads or writes them."""

    database: Database
    redis: Servers
    deployment: Deployment
    accounts: Accounts
    conversations: Conversations
    members: Members
    messages: Messages
    cursors: Cursors
    epochs: Epochs
    devices: Devices
    deliveries: Deliveries
    dead_letters: DeadLetters
    feed: Feed
    content_changes: ContentChanges
    erasures: Erasures
    turns: Turns
    upkeep: Upkeep
    timelines: TimelineStore


async def open_stores(settings: Settings, *, worker_id: str) -> Stores:
    """Opens the databases.

    Raises:
        Unavailable: PostgreSQL does not answer.
    """
    assert settings.database.url is not None
    assert settings.redis.url is not None
    database = Database(
        settings.database.url.reveal(),
        schema=settings.database.db_schema,
        pool_size=settings.database.pool_size,
        command_timeout_seconds=settings.database.timeout_seconds,
        allows_weak_durability=settings.database.allow_weak_durability,
    )
    await database.open()
    async with database.acquire() as connection:
        deployment = await read_deployment(connection)
    redis = Servers(settings.redis.url.reveal())
    retry = settings.retry
    schedule = RetrySchedule(retry.first_delay_seconds, retry.max_delay_seconds, retry.max_attempts)
    return Stores(
        database=database,
        redis=redis,
        deployment=deployment,
        accounts=Accounts(database),
        conversations=Conversations(database),
        members=Members(database),
        messages=Messages(database),
        cursors=Cursors(database),
        epochs=Epochs(database),
        devices=Devices(database, worker_id=worker_id),
        deliveries=Deliveries(database, retry_seconds=schedule.waits_seconds),
        dead_letters=DeadLetters(database),
        feed=Feed(database),
        content_changes=ContentChanges(database),
        erasures=Erasures(database),
        turns=Turns(database),
        upkeep=Upkeep(database),
        timelines=TimelineStore(
            redis,
            namespace=deployment.namespace,
            hosts=[str(host) for host in database.primary.target.hosts],
        ),
    )


async def share_timelines(stores: Stores) -> None:
    """Shares the highest timelines that this worker saw with the other workers, and takes theirs.

    Raises:
        Unavailable: Redis is.
    """
    primary = stores.database.primary
    for cluster_id, timeline in (await stores.timelines.share(primary.timelines)).items():
        primary.note_timeline(cluster_id, timeline)
