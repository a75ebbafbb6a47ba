"""What a worker does besides serving: loops that never end, and jobs that come again."""

import asyncio

import structlog

from service.consumers.service import TICK_SECONDS
from service.delivery.erasure import ChangedContents, Eraser
from service.metrics.publisher import Publisher
from service.worker.composition.auth import Auth
from service.worker.composition.delivery import Delivery
from service.worker.composition.stores import Stores, share_timelines
from service.worker.health import CHECK_SECONDS, Health
from service.worker.jobs import Job, run_job, run_once
from service.worker.server_certificate import ServerCertificate
from service.worker.stopping import Stop
from storage.postgres.devices.devices import BEAT_SECONDS
from storage.postgres.schema.migrate import read_deployment

_log = structlog.get_logger(__name__)

# No job begins another batch after this; a job's limit is 30 s.
_BUDGET_SECONDS = 15.0


def start_background(
    stores: Stores, delivery: Delivery, auth: Auth, health: Health, stop: Stop
) -> "list[asyncio.Task[None]]":
    """Starts everything; asks for a restart when the worker must start anew."""

    async def sweep() -> None:
        for conversation_id, last_seq in (await stores.feed.read()).items():
            delivery.hub.note_last_seq(conversation_id, last_seq)

    async def follow_keys_file() -> None:
        auth.keys.refresh()

    async def follow_epoch() -> None:
        async with stores.database.acquire() as connection:
            now = await read_deployment(connection)
        if now.namespace != stores.deployment.namespace:
            _log.warning("the database came back in an earlier state; this worker starts anew", epoch=now.epoch)
            stop.restart()

    async def greet() -> None:
        if await delivery.peers.refresh():
            delivery.bus.announce_nowait(delivery.peers.announcement())

    changed = ChangedContents(stores.content_changes, delivery.hub, delivery.replayer.history)
    eraser = Eraser(stores.erasures, delivery.conversations.leave_all)
    jobs = [
        Job("health", CHECK_SECONDS, health.check),
        Job("commit feed", 1.0, sweep, hurry=delivery.dispatcher.resync_event()),
        Job("primaries", 5.0, stores.database.primary.look_around),
        Job("timelines", 1.0, lambda: share_timelines(stores)),
        Job(
            "membership versions", 3.0, delivery.subscriptions.refresh_changed, hurry=delivery.dispatcher.resync_event()
        ),
        Job("receipts anew", 3600.0, delivery.receipts.tell_all, hurry=delivery.dispatcher.resync_event()),
        Job("revocations", 5.0, auth.reader.poll),
        Job("epoch", 5.0, follow_epoch),
        Job("peers", 5.0, greet, hurry=delivery.peers.unknown),
        Job("keys file", 5.0, follow_keys_file),
        Job("idle channels", 5.0, delivery.subscriptions.drop_idle),
        Job("watched presence", 30.0, delivery.presence.recheck),
        Job("unwatched presence", 15.0, delivery.presence.drop_unwatched),
        Job("worker beat", BEAT_SECONDS, stores.devices.beat),
        Job("due deliveries", TICK_SECONDS, delivery.manual.tick),
        Job("orphaned deliveries", 5.0, stores.deliveries.fail_orphans),
        Job("purge feed", 30.0, stores.feed.purge),
        Job("purge streams", 60.0, stores.devices.purge),
        Job("changed contents", 3.0, changed.look),
        Job("deleted accounts", 10.0, lambda: eraser.run(budget_seconds=_BUDGET_SECONDS)),
        Job("upkeep", 60.0, lambda: stores.upkeep.run(budget_seconds=_BUDGET_SECONDS)),
    ]
    loops = {
        "database outage": stores.database.outage.run(),
        "bus": delivery.bus.run(),
        "acks": delivery.acks.run(),
        "device modes": delivery.modes.run(),
        "presence": delivery.presence.run(),
        "presence writer": delivery.presence.writer.run(),
        "receipts": delivery.receipts.run(),
        "streams": auth.streams.run(),
    }
    tasks = [asyncio.create_task(work, name=name) for name, work in loops.items()]
    return [*tasks, *(asyncio.create_task(run_job(job), name=job.name) for job in jobs)]


def follow_certificate(certificate: ServerCertificate, *, has_warnings: bool) -> "asyncio.Task[None]":
    """Starts following the certificate's files.

    Args:
        has_warnings: whether this worker warns of the certificate's end; one of all does.
    """

    async def follow() -> None:
        certificate.refresh()
        if has_warnings:
            certificate.warn_if_due()

    job = Job("certificate", 5.0, follow)
    return asyncio.create_task(run_job(job), name=job.name)


async def start_metrics(stores: Stores, publisher: Publisher) -> "list[asyncio.Task[None]]":
    """Starts what is done for metrics alone; what is read from the database is known then, if it answers."""
    letters = Job("dead letters made", 15.0, stores.dead_letters.count_made)
    await run_once(letters)
    return [
        asyncio.create_task(publisher.run(), name="metrics"),
        asyncio.create_task(run_job(letters), name=letters.name),
    ]
