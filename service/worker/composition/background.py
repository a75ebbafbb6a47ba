"""Starts what a worker does besides serving: loops that never end, and jobs that come again.

Each job of `job_table.py` is bound here to what it does.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeAlias

import structlog

from service.delivery.bus_messages import publish_nowait
from service.delivery.erasure import ChangedContents, Eraser
from service.metrics.publisher import Publisher
from service.worker.composition.auth import Auth
from service.worker.composition.bus import build_receiver
from service.worker.composition.delivery import Delivery
from service.worker.composition.stores import Stores, share_timelines
from service.worker.health import Health
from service.worker.job_table import ALWAYS, CERTIFICATE, DEAD_LETTERS_MADE
from service.worker.jobs import Hurry, Job, JobRunner, Scope, TakeTurn
from service.worker.server_certificate import ServerCertificate
from service.worker.stopping import Stop
from storage.postgres.schema.migrate import read_deployment

_log = structlog.get_logger(__name__)

# Jobs that work in batches begin no batch after this; the limit of a job is 30 s.
_BUDGET_SECONDS = 15.0

Work: TypeAlias = Callable[[], Awaitable[object]]


def start_background(
    stores: Stores, delivery: Delivery, auth: Auth, health: Health, stop: Stop
) -> "list[asyncio.Task[None]]":
    """Starts the loops and the jobs; a job asks `stop` for a restart when the worker must start anew."""
    loops = {
        "database outage": stores.database.outage.run(),
        "bus": delivery.bus.run(build_receiver(delivery, auth.revocations)),
        "memberships": delivery.subscriptions.run(),
        "acks": delivery.acks.run(),
        "device modes": delivery.modes.run(),
        "presence": delivery.presence.run(),
        "presence writer": delivery.presence.writer.run(),
        "receipts": delivery.receipts.run(),
        "streams": auth.streams.run(),
    }
    tasks = [asyncio.create_task(work, name=name) for name, work in loops.items()]
    works = _bind(stores, delivery, auth, health, stop)
    hurries = {
        Hurry.BUS_IS_BACK: delivery.reconnections.event,
        Hurry.UNKNOWN_WORKER: lambda: delivery.peers.unknown,
        Hurry.UNKNOWN_KEY: lambda: auth.keys.wanted,
    }
    return tasks + start_jobs(ALWAYS, works, hurries, stores.turns.take)


def start_jobs(
    jobs: Sequence[Job],
    works: Mapping[str, Work],
    hurries: Mapping[Hurry, Callable[[], asyncio.Event]],
    take_turn: TakeTurn,
) -> "list[asyncio.Task[None]]":
    """Starts a loop for each job.

    Args:
        works: what the jobs do, by name.
        hurries: what makes the event that hurries a job; jobs may share it.
        take_turn: as of JobRunner.

    Raises:
        LookupError: a job has no work, or some work has no job.
    """
    if works.keys() != {job.name for job in jobs}:
        raise LookupError("the table of jobs and what is bound to it differ")
    runners = [
        JobRunner(
            job,
            works[job.name],
            take_turn=take_turn if job.scope is Scope.ONE_OF_ALL else None,
            hurried=None if job.hurry is None else hurries[job.hurry](),
        )
        for job in jobs
    ]
    return [asyncio.create_task(runner.run(), name=job.name) for job, runner in zip(jobs, runners, strict=True)]


def _bind(stores: Stores, delivery: Delivery, auth: Auth, health: Health, stop: Stop) -> dict[str, Work]:
    """Returns what each job of ALWAYS does."""

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
            publish_nowait(delivery.bus, delivery.peers.announcement())

    changed = ChangedContents(stores.content_changes, delivery.hub, delivery.replayer.history)
    eraser = Eraser(stores.erasures, delivery.conversations.leave_all)
    return {
        "health": health.check,
        "commit feed": sweep,
        "primaries": stores.database.primary.look_around,
        "timelines": lambda: share_timelines(stores),
        "membership versions": delivery.subscriptions.refresh_changed,
        "receipts anew": delivery.receipts.tell_all,
        "revocations": auth.reader.poll,
        "epoch": follow_epoch,
        "peers": greet,
        "keys file": follow_keys_file,
        "idle channels": delivery.opener.drop_idle,
        "watched presence": delivery.presence.recheck,
        "unwatched presence": delivery.presence.drop_unwatched,
        "worker beat": stores.devices.beat,
        "due deliveries": delivery.manual.tick,
        "orphaned deliveries": stores.deliveries.fail_orphans,
        "purge feed": stores.feed.purge,
        "purge streams": stores.devices.purge,
        "changed contents": changed.look,
        "deleted accounts": lambda: eraser.run(budget_seconds=_BUDGET_SECONDS),
        "upkeep": lambda: stores.upkeep.run(budget_seconds=_BUDGET_SECONDS),
    }


def follow_certificate(certificate: ServerCertificate, *, has_warnings: bool) -> "asyncio.Task[None]":
    """Starts following the certificate's files.

    Args:
        has_warnings: whether this worker warns of the certificate's end; one of all does.
    """

    async def follow() -> None:
        certificate.refresh()
        if has_warnings:
            certificate.warn_if_due()

    return asyncio.create_task(JobRunner(CERTIFICATE, follow).run(), name=CERTIFICATE.name)


async def start_metrics(stores: Stores, publisher: Publisher) -> "list[asyncio.Task[None]]":
    """Starts what is done for metrics alone; what is read from the database is known then, if it answers."""
    letters = JobRunner(DEAD_LETTERS_MADE, stores.dead_letters.count_made)
    await letters.run_once()
    return [
        asyncio.create_task(publisher.run(), name="metrics"),
        asyncio.create_task(letters.run(), name=DEAD_LETTERS_MADE.name),
    ]
