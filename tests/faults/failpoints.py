"""Known faults that are built into a worker, to see that the checker finds each of them (docs/reliability.md).

`armed_service.py` starts a server whose workers have some of these faults. The product has none of this code.
"""

import asyncio
import os
import random
import secrets
import signal
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TypeAlias

import structlog

from service.convert.items import Item
from service.delivery.acks import AckWriter
from service.delivery.fanout import Fanout
from service.delivery.hub import Hub
from service.delivery.session import Session
from service.delivery.subscription_manager import SubscriptionManager
from service.delivery.window import Window
from service.messages.submission import Submission
from service.messages.writer import Writer
from service.worker.reconnections import Reconnections
from storage.errors import StorageError
from storage.postgres.connections.database import Database, translated
from storage.postgres.devices.deliveries import Claim, Deliveries, Place, Settlement
from storage.postgres.log.append import Appender
from storage.postgres.log.feed import Feed
from storage.records import Draft, Entry, EntryKind, Outcome, Stored

# With `die_before_publish` a worker kills itself after the commit of a text that begins so, before anybody is told.
LAST_WORDS = "last words"
# How long a commit that was told too early takes, so that a fault falls between the two.
_LATE_COMMIT_SECONDS = 0.05

_log = structlog.get_logger(__name__)

Store: TypeAlias = Callable[[Sequence[Draft]], Awaitable[list[Stored]]]


class FailpointError(Exception):
    """A failpoint of this name does not exist, or the place that it changes does not exist any more."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a worker that a failpoint may change."""

    database: Database
    feed: Feed
    reconnections: Reconnections
    hub: Hub
    subscriptions: SubscriptionManager
    fanout: Fanout
    writer: Writer
    acks: AckWriter
    deliveries: Deliveries


def arm(parts: Parts, names: Iterable[str]) -> None:
    """Switches failpoints on.

    Raises:
        FailpointError: a name is unknown; no failpoint is on then.
    """
    names = list(names)
    if unknown := sorted(set(names) - set(FAILPOINTS)):
        raise FailpointError(f"there is no failpoint {', '.join(unknown)}")
    _log.warning("failpoints are on; this server loses messages", names=names)
    for name in names:
        FAILPOINTS[name](parts)


def ack_before_commit(parts: Parts) -> None:
    """Senders and readers are told while the transaction is open; its commit comes a little later."""
    commits: dict[Appender, asyncio.Task[None]] = {}

    async def store(connection: Appender, original: Store, drafts: Sequence[Draft]) -> list[Stored]:
        if (commit := commits.get(connection)) is not None:
            await commit
        answers = await _begin(connection, original, drafts)
        commits[connection] = asyncio.create_task(_commit(connection))
        return answers

    _replace_store(parts.writer, store)


def publish_before_commit(parts: Parts) -> None:
    """Readers are told while the transaction is open; the sender only after its commit."""

    async def store(connection: Appender, original: Store, drafts: Sequence[Draft]) -> list[Stored]:
        answers = await _begin(connection, original, drafts)
        parts.fanout.publish_entries(
            [
                _to_entry(draft, answer)
                for draft, answer in zip(drafts, answers, strict=True)
                if answer.outcome is Outcome.STORED
            ]
        )
        await _commit(connection)
        return answers

    _replace_store(parts.writer, store)


def no_gap_repair(parts: Parts) -> None:
    """A gap waits for the bus to fill it, for ever."""
    put(parts.hub, "_watch_gap", lambda channel: None)


def no_sweep(parts: Parts) -> None:
    """The commit feed is not read."""

    async def read() -> dict[str, int]:
        return {}

    put(parts.feed, "read", read)


def no_republish(parts: Parts) -> None:
    """A batch that was found committed after an unknown outcome is not published."""
    announce = parts.writer.settlements.announce

    def announce_new(stored: Sequence[tuple[Submission, Stored]]) -> None:
        announce([(submission, answer) for submission, answer in stored if not submission.is_tried])

    put(parts.writer.settlements, "announce", announce_new)


def no_dedupe(parts: Parts) -> None:
    """A repeat is stored like anything new."""

    async def store(_: Appender, original: Store, drafts: Sequence[Draft]) -> list[Stored]:
        answers = await original(drafts)
        repeats = [nth for nth, answer in enumerate(answers) if answer.outcome is Outcome.DUPLICATE]
        again = [drafts[nth]._replace(request_id=secrets.token_hex(8)) for nth in repeats]
        for nth, answer in zip(repeats, await original(again) if again else [], strict=True):
            answers[nth] = answer
        return answers

    _replace_store(parts.writer, store)


def dedupe_by_plain_read(parts: Parts) -> None:
    """A repeat is answered by what a plain read sees, which may be there without the standby's knowledge."""

    async def store(_: Appender, original: Store, drafts: Sequence[Draft]) -> list[Stored]:
        rows = await parts.database.fetch(
            "SELECT conversation_id, sender, request_id, seq, create_time FROM messages WHERE request_id = ANY ($1)",
            [draft.request_id for draft in drafts],
        )
        found = {(row[0], row[1], row[2]): Stored(Outcome.DUPLICATE, row[3], row[4]) for row in rows}
        keys = [(draft.conversation_id, draft.sender, draft.request_id) for draft in drafts]
        new = [draft for draft, key in zip(drafts, keys, strict=True) if key not in found]
        answers = iter(await original(new) if new else [])
        return [found[key] if key in found else next(answers) for key in keys]

    _replace_store(parts.writer, store)


def cursor_early(parts: Parts) -> None:
    """What is put into a stream's buffer counts as acknowledged by its device."""
    offer = Session.offer

    def offer_and_ack(session: Session, conversation_id: str, run: list[Item], joined: bytes) -> int:
        taken_count = offer(session, conversation_id, run, joined)
        if taken_count:
            parts.acks.note(session.username, session.device_id, conversation_id, run[taken_count - 1].seq)
        return taken_count

    put(Session, "offer", offer_and_ack)


def window_ignored(_: Parts) -> None:
    """What the client lets be under way is counted and not kept to."""
    put(Window, "has_room_for", lambda *_: True)


def no_version_check(parts: Parts) -> None:
    """Memberships that changed unheard are looked for when the bus was away, and not every few seconds."""
    note, refresh_changed = parts.reconnections.note, parts.subscriptions.refresh_changed
    was_away = asyncio.Event()

    def note_both() -> None:
        was_away.set()
        note()

    async def refresh_after_connect() -> None:
        if was_away.is_set():
            was_away.clear()
            await refresh_changed()

    put(parts.reconnections, "note", note_both)
    put(parts.subscriptions, "refresh_changed", refresh_after_connect)


def no_resubscribe_check(parts: Parts) -> None:
    """A bus that was away is taken up again as if nothing had been missed."""
    put(parts.reconnections, "note", lambda: None)


def lanes_off(parts: Parts) -> None:
    """A message takes any lane, whatever waits of its conversation in another."""
    queues = [lane.queue for lane in parts.writer._lanes]
    put(parts.writer, "_queue_of", lambda conversation_id: random.choice(queues))


def deadlines_off(parts: Parts) -> None:
    """What a stream with manual acks holds stays its own for an hour."""
    claim = parts.deliveries.claim

    async def claim_for_long(username: str, device_id: str, places: Sequence[Place], names: Sequence[str]) -> Claim:
        return await claim(username, device_id, [replace(place, deadline_seconds=3600) for place in places], names)

    put(parts.deliveries, "claim", claim_for_long)


def attempts_forgotten(parts: Parts) -> None:
    """What failed is given out as if for the first time."""
    claim = parts.deliveries.claim

    async def claim_anew(username: str, device_id: str, places: Sequence[Place], names: Sequence[str]) -> Claim:
        await parts.database.execute(
            "UPDATE deliveries SET attempts = 0 WHERE username = $1 AND device_id = $2 AND owner = 0",
            username,
            device_id,
        )
        return await claim(username, device_id, places, names)

    put(parts.deliveries, "claim", claim_anew)


def manual_acks_unwritten(parts: Parts) -> None:
    """The first manual ack of one message of 25 is answered, and settles nothing."""
    ack = parts.deliveries.ack
    forgotten: set[tuple[str, str, str, int]] = set()

    async def ack_most(username: str, device_id: str, positions: Sequence[tuple[str, int]]) -> list[Settlement]:
        places = [(username, device_id, *position) for position in positions]
        lost = {place for place in places if place[3] % 25 == 0} - forgotten
        forgotten.update(lost)
        kept = [position for place, position in zip(places, positions, strict=True) if place not in lost]
        answers = iter(await ack(username, device_id, kept))
        return [Settlement(True, False, True, place[3]) if place in lost else next(answers) for place in places]

    put(parts.deliveries, "ack", ack_most)


def die_before_publish(parts: Parts) -> None:
    """No fault, but a moment: the worker dies between the commit of certain words and their publication."""
    announce = parts.writer.settlements.announce

    def announce_or_die(stored: Sequence[tuple[Submission, Stored]]) -> None:
        if any(submission.draft.text.startswith(LAST_WORDS) for submission, _ in stored):
            os.kill(os.getpid(), signal.SIGKILL)
        announce(stored)

    put(parts.writer.settlements, "announce", announce_or_die)


FAILPOINTS: dict[str, Callable[[Parts], None]] = {
    failpoint.__name__: failpoint
    for failpoint in (
        ack_before_commit,
        publish_before_commit,
        no_gap_repair,
        no_sweep,
        no_republish,
        no_dedupe,
        dedupe_by_plain_read,
        cursor_early,
        no_version_check,
        no_resubscribe_check,
        window_ignored,
        lanes_off,
        deadlines_off,
        attempts_forgotten,
        manual_acks_unwritten,
        die_before_publish,
    )
}


def _replace_store(
    writer: Writer, store: Callable[[Appender, Store, Sequence[Draft]], Awaitable[list[Stored]]]
) -> None:
    """Puts `store(connection, original, drafts)` in the place of every lane's, those of later blocked lanes too."""

    def change(connection: Appender) -> Appender:
        original = connection.store
        put(connection, "store", lambda drafts: store(connection, original, drafts))
        return connection

    connect = writer._connect
    put(writer, "_connect", lambda lock_timeout_ms: change(connect(lock_timeout_ms)))
    for lane in writer._lanes:
        change(lane._connection)


async def _begin(connection: Appender, original: Store, drafts: Sequence[Draft]) -> list[Stored]:
    """Stores inside a transaction that stays open."""
    opened = await connection._open()

    async def stay_open() -> object:  # a lane takes no connection that is in a transaction
        return opened

    try:
        await _run(connection, "BEGIN")
        put(connection, "_open", stay_open)
        return await original(drafts)
    except StorageError:
        connection.discard()
        raise
    finally:
        vars(connection).pop("_open", None)


async def _commit(connection: Appender) -> None:
    await asyncio.sleep(_LATE_COMMIT_SECONDS)
    with suppress(StorageError):  # too late to tell anybody: that is the fault
        await _run(connection, "COMMIT")


async def _run(connection: Appender, sql: str) -> None:
    with translated():
        if connection._connection is not None:
            await connection._connection.execute(sql)


def _to_entry(draft: Draft, answer: Stored) -> Entry:
    assert answer.create_time is not None
    return Entry(
        conversation_id=draft.conversation_id,
        seq=answer.seq,
        kind=EntryKind.MESSAGE,
        sender=draft.sender,
        request_id=draft.request_id,
        create_time=answer.create_time,
        size_bytes=draft.size_bytes,
        reply_to_seq=draft.reply_to_seq,
        text=draft.text,
        data=draft.data,
        content_type=draft.content_type,
        extras=None,
    )


def put(owner: object, name: str, value: object) -> None:
    """Sets an attribute that is there, so that a failpoint whose place was renamed fails at once."""
    if not hasattr(owner, name):
        raise FailpointError(f"{owner!r} has no {name}: the failpoint must follow the code")
    setattr(owner, name, value)
