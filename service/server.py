"""The composition of a worker: read downwards it is the start, `_stop` is the shutdown as a list.

Nothing else builds concrete things.
"""

import asyncio
import gc
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import grpc
import structlog
from redis.asyncio import BlockingConnectionPool, Redis

from service.auth.accounts import AccountService
from service.auth.attempts import Attempts
from service.auth.key_ring import KeyRing
from service.auth.keys import load_keys
from service.auth.passwords import Passwords
from service.auth.refresh_tokens import RefreshTokens
from service.auth.revocations import RevocationReader, Revocations
from service.auth.tokens import TokenIssuer, TokenVerifier
from service.config import Settings
from service.delivery.acks import AckWriter
from service.delivery.attendance import Attendants
from service.delivery.conversations import ConversationService
from service.delivery.fanout import REVOCATIONS_CHANNEL, Fanout
from service.delivery.hub import Hub
from service.delivery.presence import PresenceTracker
from service.delivery.receipts import WATCH_CHANNEL, ReceiptTracker
from service.delivery.replay import Replayer
from service.delivery.streams import Streams
from service.delivery.writer import Writer
from service.hashes import RequestHasher
from service.health import CHECK_SECONDS, Health
from service.intake import Intake
from service.interceptors.authentication import Authenticator
from service.interceptors.limits import InFlight
from service.listening import add_port, server_options, shows_reflection
from service.reflection import reflection_handlers
from service.rpc.accounts import AccountHandlers
from service.rpc.chat import ChatHandlers
from service.rpc.chat_frames import ChatParts
from service.rpc.conversations import ConversationHandlers
from service.rpc.messages import MessageHandlers
from service.rpc.methods import Handlers, to_methods
from service.rpc.presence import PresenceHandlers
from service.rpc.registry import SERVICE, to_generic_handler
from service.rpc.server_info import ServerInfoHandlers
from service.upkeep import Job, run_job
from storage.errors import Unavailable
from storage.postgres.accounts import Accounts
from storage.postgres.conversations import Conversations
from storage.postgres.database import Database
from storage.postgres.feed import Feed
from storage.postgres.lanes import LaneConnection
from storage.postgres.members import Members
from storage.postgres.messages import Messages
from storage.postgres.migrate import read_deployment
from storage.postgres.positions import Positions
from storage.postgres.receipts import Receipts
from storage.postgres.restores import Restores
from storage.records import Deployment, Revocation
from storage.redis.bus import Bus
from storage.redis.connections import make_pool
from storage.redis.presence import PresenceStore

_log = structlog.get_logger(__name__)

# How long a shutdown lets what was begun end; reconnects of clients are spread over the second one.
DRAIN_SECONDS = 8.0
SPREAD_SECONDS = 2.0


async def run_worker(
    settings: Settings,
    *,
    index: int,
    listen: str,
    beat: Callable[[], None],
    ready: Callable[[], None],
    stop: asyncio.Event,
) -> None:
    """Serves until `stop` is set, then drains.

    Args:
        settings: with the URLs of both databases and the path of the keys filled in.
        index: which worker this is, from 0.
        listen: host:port; shared with the other workers by SO_REUSEPORT.
        beat: tells the supervisor that the event loop runs; its caller does so from then on.
        ready: tells the supervisor that this worker serves.
        stop: set when it is to end.
    """
    beat()
    stores = await _open_stores(settings)
    delivery = _build_delivery(settings, stores, worker_id=f"{index}-{secrets.token_hex(4)}")
    auth = await _build_auth(settings, stores, delivery)
    health = Health(lambda: stores.database.fetchval("SELECT 1"), lambda: delivery.bus.is_alive)
    server = _build_server(settings, listen, stores, delivery, auth, health)

    await stores.feed.read()  # from here on, whatever the bus loses is found
    delivery.writer.start()
    # Noted now, in force as soon as the bus is there.
    await delivery.bus.subscribe([REVOCATIONS_CHANNEL, WATCH_CHANNEL])
    background = _start_background(stores, delivery, auth, health, stop)
    await health.check()
    await server.start()
    gc.freeze()  # what is there now stays; the collector need not look at it again
    _log.info("serving", address=listen, deployment=stores.deployment.deployment_id)
    ready()
    await _wait_for_end(stop, background)
    await _stop(server, stores, delivery, auth, health, background)


@dataclass(frozen=True, slots=True)
class _Stores:
    database: Database
    redis: "Redis"
    pool: BlockingConnectionPool
    deployment: Deployment
    accounts: Accounts
    conversations: Conversations
    members: Members
    messages: Messages
    positions: Positions
    restores: Restores
    feed: Feed


@dataclass(frozen=True, slots=True)
class _Delivery:
    intake: Intake
    bus: Bus
    hub: Hub
    replayer: Replayer
    attendants: Attendants
    fanout: Fanout
    writer: Writer
    acks: AckWriter
    presence: PresenceTracker
    receipts: ReceiptTracker
    conversations: ConversationService
    hasher: RequestHasher


@dataclass(frozen=True, slots=True)
class _Auth:
    authenticator: Authenticator
    keys: KeyRing
    reader: RevocationReader
    streams: Streams
    accounts: AccountService
    passwords: Passwords


async def _open_stores(settings: Settings) -> _Stores:
    assert settings.database.url is not None
    assert settings.redis.url is not None
    database = Database(
        settings.database.url.get_secret_value(),
        schema=settings.database.db_schema,
        pool_size=settings.database.pool_size,
        command_timeout_seconds=settings.database.timeout_seconds,
    )
    await database.open()
    async with database.acquire() as connection:
        deployment = await read_deployment(connection)
    pool = make_pool(settings.redis.url.get_secret_value())
    return _Stores(
        database=database,
        redis=Redis(connection_pool=pool),
        pool=pool,
        deployment=deployment,
        accounts=Accounts(database),
        conversations=Conversations(database),
        members=Members(database),
        messages=Messages(database),
        positions=Positions(database),
        restores=Restores(database),
        feed=Feed(database),
    )


def _build_delivery(settings: Settings, stores: _Stores, *, worker_id: str) -> _Delivery:
    prefix = stores.deployment.deployment_id
    intake = Intake()
    bus = Bus(stores.redis, prefix=prefix, worker_id=worker_id, on_message=intake.take, on_connect=intake.reconnected)
    hub = Hub(stores.messages, on_lag=intake.nudge, on_added=intake.refresh)
    replayer = Replayer(stores.messages, hub, on_complete=intake.complete)
    attendants = Attendants(
        hub,
        replayer,
        stores.positions,
        stores.restores,
        bus,
        epoch=stores.deployment.epoch,
        max_devices=settings.limits.max_devices,
    )
    fanout = Fanout(hub, attendants, bus)
    writer = Writer(
        lambda lock_timeout_ms: LaneConnection(stores.database, lock_timeout_ms=lock_timeout_ms),
        lane_count=settings.database.lanes,
        announce=fanout.publish_stored,
        ensure_direct=stores.conversations.ensure_direct,
        announce_members=fanout.publish_memberships,
        max_queued=settings.limits.max_queued_messages,
    )
    hasher = RequestHasher(stores.deployment.hash_key)
    conversations = ConversationService(
        stores.conversations,
        stores.members,
        hasher,
        max_members=settings.limits.max_members,
        publish_entries=fanout.publish_entries,
        publish_memberships=fanout.publish_memberships,
        on_read=intake.moved,
    )
    presence = PresenceTracker(
        PresenceStore(stores.redis, prefix=prefix), bus, stores.conversations.shares_conversation
    )
    receipts = ReceiptTracker(Receipts(stores.database), hub, bus)
    acks = AckWriter(stores.positions, intake.moved)
    return _Delivery(
        intake, bus, hub, replayer, attendants, fanout, writer, acks, presence, receipts, conversations, hasher
    )


async def _build_auth(settings: Settings, stores: _Stores, delivery: _Delivery) -> _Auth:
    assert settings.auth.keys_file is not None
    auth = settings.auth
    revocations = Revocations()
    reader = RevocationReader(stores.accounts, revocations)
    await reader.poll()
    keys = load_keys(Path(settings.auth.keys_file))
    streams = Streams(
        max_streams=settings.limits.max_streams,
        max_streams_per_user=settings.limits.max_streams_per_user,
        is_revoked=revocations.is_revoked,
    )
    revocations.listen(streams.end_revoked)
    delivery.intake.connect(
        delivery.hub, delivery.replayer, delivery.attendants, delivery.presence, revocations, delivery.receipts
    )

    def announce(revocation: Revocation) -> None:
        revocations.apply(revocation)
        delivery.fanout.publish_revocation(revocation)

    passwords = Passwords(threads=auth.password_threads, queue_size=auth.password_queue)
    accounts = AccountService(
        stores.accounts,
        passwords=passwords,
        attempts=Attempts(
            per_account_per_minute=auth.attempts_per_minute,
            per_address_per_minute=auth.attempts_per_minute_per_address,
        ),
        issuer=TokenIssuer(keys, issuer=auth.issuer, audience=auth.audience, life_seconds=auth.access_token_seconds),
        refresh_tokens=RefreshTokens(stores.deployment.hash_key),
        leave_all=delivery.conversations.leave_all,
        announce_revocation=announce,
        is_registration_open=auth.registration == "open",
        refresh_token_seconds=auth.refresh_token_seconds,
    )
    verifier = TokenVerifier(keys, issuer=auth.issuer, audience=auth.audience)
    return _Auth(Authenticator(verifier, revocations), keys, reader, streams, accounts, passwords)


def _build_server(
    settings: Settings, listen: str, stores: _Stores, delivery: _Delivery, auth: _Auth, health: Health
) -> grpc.aio.Server:
    epoch = stores.deployment.epoch
    parts = ChatParts(
        authenticator=auth.authenticator,
        hub=delivery.hub,
        attendants=delivery.attendants,
        writer=delivery.writer,
        fanout=delivery.fanout,
        acks=delivery.acks,
        presence=delivery.presence,
        receipts=delivery.receipts,
        conversations=delivery.conversations,
        hasher=delivery.hasher,
        epoch=epoch,
    )
    handlers = Handlers(
        server_info=ServerInfoHandlers(
            settings,
            start_time=datetime.now(UTC),
            epoch=lambda: epoch,
            component_states=health.component_states,
        ),
        accounts=AccountHandlers(auth.accounts),
        conversations=ConversationHandlers(delivery.conversations),
        messages=MessageHandlers(delivery.writer, stores.messages, delivery.hasher),
        chat=ChatHandlers(
            parts, delivery.replayer, auth.streams, stores.positions, max_devices=settings.limits.max_devices
        ),
        presence=PresenceHandlers(delivery.presence),
    )
    server = grpc.aio.server(options=server_options())
    server.add_generic_rpc_handlers((to_generic_handler(to_methods(handlers), auth.authenticator, InFlight()),))
    health.add_to(server)
    if shows_reflection(settings, listen):
        server.add_generic_rpc_handlers(tuple(reflection_handlers([SERVICE, "grpc.health.v1.Health"])))
    add_port(server, settings, listen)
    return server


def _start_background(
    stores: _Stores, delivery: _Delivery, auth: _Auth, health: Health, stop: asyncio.Event
) -> "list[asyncio.Task[None]]":
    async def sweep() -> None:
        for conversation_id, last_seq in (await stores.feed.read()).items():
            delivery.hub.note_last_seq(conversation_id, last_seq)

    async def follow_keys_file() -> None:
        auth.keys.refresh()

    async def follow_epoch() -> None:
        if (epoch := await stores.restores.get_epoch()) != stores.deployment.epoch:
            _log.warning("the database came back in an earlier state; this worker starts anew", epoch=epoch)
            stop.set()

    jobs = [
        Job("health", CHECK_SECONDS, health.check),
        Job("commit feed", 1.0, sweep),
        Job("membership versions", 3.0, delivery.attendants.refresh_changed),
        Job("revocations", 5.0, auth.reader.poll),
        Job("epoch", 5.0, follow_epoch),
        Job("keys file", 5.0, follow_keys_file),
        Job("idle channels", 5.0, delivery.attendants.drop_idle),
        Job("watched presence", 30.0, delivery.presence.recheck),
        Job("unwatched presence", 15.0, delivery.presence.drop_unwatched),
        Job("purge feed", 30.0, stores.feed.purge),
        Job("purge accounts", 600.0, lambda: stores.accounts.purge(datetime.now(UTC))),
    ]
    loops = {
        "bus": delivery.bus.run(),
        "acks": delivery.acks.run(),
        "presence": delivery.presence.run(),
        "receipts": delivery.receipts.run(),
        "streams": auth.streams.run(),
        **{job.name: run_job(job) for job in jobs},
    }
    return [asyncio.create_task(work, name=name) for name, work in loops.items()]


async def _wait_for_end(stop: asyncio.Event, background: "list[asyncio.Task[None]]") -> None:
    """Returns when the worker is to end, or when one of the loops that never end has: then it must be started anew."""
    stopped = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait([stopped, *background], return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    for task in done - {stopped}:
        _log.error("background task ended", task=task.get_name(), exc_info=task.exception())


async def _stop(
    server: grpc.aio.Server,
    stores: _Stores,
    delivery: _Delivery,
    auth: _Auth,
    health: Health,
    background: "list[asyncio.Task[None]]",
) -> None:
    _log.info("stopping", streams=len(auth.streams))
    await health.leave()
    await auth.streams.go_away(drain_seconds=DRAIN_SECONDS, spread_seconds=SPREAD_SECONDS)
    await server.stop(1)
    await delivery.writer.close(1)
    try:
        await delivery.acks.flush()
    except Unavailable as error:
        _log.warning("acks lost; their messages will come again", error=str(error))
    await delivery.bus.flush(1)
    for task in background:
        task.cancel()
    await asyncio.gather(*background, return_exceptions=True)
    await delivery.replayer.close()
    await delivery.hub.close()
    await delivery.bus.close()
    await stores.redis.aclose()
    await stores.pool.aclose()
    auth.passwords.close()
    await stores.database.close()
    _log.info("stopped", encoded=delivery.fanout.encoded_count, gap_reads=delivery.hub.gap_read_count)
