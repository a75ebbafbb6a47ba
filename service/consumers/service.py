"""Manual acks: brings each message to one of the streams of its device, until it is acked or dead.

One task a device and worker does, in turn, what its streams ask for: writes acks and nacks, gives back what ended
streams held, claims what there is room for. What arrives meanwhile is the next turn's. The hub wakes it when a
conversation has ready, a timer when a wait or a deadline ends; what another worker did is seen by `tick` within a
second, or at once when the bus says so. The rules are in `storage/postgres/schema/migrations/0003_deliveries.sql`.
"""

import asyncio
import math
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import structlog

from service.consumers.group import Consumer, Group, PendingAck, Release
from service.convert import responses
from service.delivery.session import Session
from service.delivery.subscription_manager import SubscriptionManager
from service.domain import errors
from storage.errors import Unavailable
from storage.postgres.devices.deliveries import Claim, Deliveries, Nack, Settlement
from storage.records import AckMode

_log = structlog.get_logger(__name__)

_RETRY_SECONDS = 0.25
# Acks and nacks that one statement takes.
_MAX_ACKS = 1_000
TICK_SECONDS = 1.0
# While streams hold almost all that they may, a claim waits so long for a few acks more: each costs a commit.
_GATHER_SECONDS = 0.01


@dataclass(slots=True, eq=False)
class _Service:
    """A group and the task that serves it.

    Attributes:
        due_time: when a wait or a deadline ends, on the event loop's clock.
        gather_time: until when more room may gather, since there was little; None: nothing waits for it.
        is_short: the last turn found no room.
    """

    group: Group
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    due_time: float = math.inf
    gather_time: float | None = None
    is_short: bool = False
    task: "asyncio.Task[None] | None" = None


class ManualDelivery:
    """All streams with manual acks of a worker.

    Args:
        announce: called with (user name, device) when something was given back that another worker's stream may take.
        on_acked: called with (conversation, user) when acks of a conversation were written.
    """

    def __init__(
        self,
        deliveries: Deliveries,
        subscriptions: SubscriptionManager,
        *,
        announce: Callable[[str, str], None],
        on_acked: Callable[[str, str], None],
    ) -> None:
        self._deliveries = deliveries
        self._on_acked = on_acked
        self._subscriptions = subscriptions
        self._announce = announce
        self._services: dict[tuple[str, str], _Service] = {}
        self._by_session: dict[Session, _Service] = {}
        self.delivered_counts = {"first": 0, "again": 0}

    async def open(
        self, session: Session, *, window_messages: int, ack_deadline_seconds: float, starts_at_latest: bool
    ) -> None:
        """Lets a stream take part, in the session's mode.

        Args:
            window_messages: how many it may hold.
            ack_deadline_seconds: how long it has for each message.
            starts_at_latest: conversations in which the device has no position begin at their end.

        Raises:
            TooManyDevices: the device is new and the user has as many as one may have.
            AckModeMismatch: the device acknowledges in another way, and that is in use.
            Unavailable: the database is.
        """
        key = (session.username, session.device_id)
        session.signal_growth(lambda conversation_id: self._note_grown(key, conversation_id))
        try:
            await self._subscriptions.listen(session, starts_at_latest=starts_at_latest)
            if starts_at_latest:
                await self._deliveries.begin_at_end(*key)
            # After the session was made live: what is stored from then on is heard of.
            ready = await self._deliveries.list_ready(*key)
        except BaseException:
            session.signal_growth(None)
            raise
        service = self._services.get(key) or self._start(Group(*key, is_ordered=session.mode.is_ordered))
        service.group.consumers[session.session_id] = Consumer(session, ack_deadline_seconds, window_messages)
        service.group.note_ready(ready)
        self._by_session[session] = service
        self._look_again(service)

    def close_stream(self, session: Session, *, is_clean: bool) -> None:
        """Notes that a stream has ended; what it held goes to others.

        Args:
            is_clean: by its client's half-close, or by the server.
        """
        service = self._by_session.pop(session, None)
        if service is not None:
            del service.group.consumers[session.session_id]
            service.group.releases.append(Release(session.session_id, counts=not is_clean))
            service.wake.set()

    def schedule(self, session: Session) -> None:
        """Says that a stream has written: it may have room."""
        if (service := self._by_session.get(session)) is not None and service.is_short:
            service.wake.set()

    def check_manual(self, session: Session) -> None:
        """Refuses a stream that does not acknowledge manually.

        Raises:
            AckModeMismatch: it does not.
        """
        if session.mode.ack_mode is not AckMode.MANUAL:
            raise errors.AckModeMismatch(session.device_id)

    def ack(self, session: Session, positions: Sequence[tuple[str, int]], correlation_id: int) -> None:
        """Takes acks that were checked; what is refused is told to the session."""
        self._take(session, [PendingAck(session, correlation_id, *position) for position in positions])

    def nack(self, session: Session, nacks: Sequence[Nack], correlation_id: int) -> None:
        """Takes nacks that were checked, as `ack`."""
        self._take(
            session, [PendingAck(session, correlation_id, nack.conversation_id, nack.seq, nack) for nack in nacks]
        )

    async def ack_now(
        self, username: str, device_id: str, positions: Sequence[tuple[str, int]]
    ) -> list[errors.ParleyError]:
        """Settles messages for a caller outside a stream; gives what was refused.

        Raises:
            Unavailable: the database is.
        """
        settlements = await self._deliveries.ack(username, device_id, positions)
        if (service := self._services.get((username, device_id))) is not None:
            service.group.note_settled(positions)
            service.wake.set()
        self._announce(username, device_id)
        self._tell_acked(username, positions)
        refusals = [
            _refusal(conversation_id, seq, settlement, is_nack=False)
            for (conversation_id, seq), settlement in zip(positions, settlements, strict=True)
        ]
        return [refusal for refusal in refusals if refusal is not None]

    def announce(self, username: str, device_id: str) -> None:
        """Says, here and to other workers, that something may have come for a device."""
        self.wake(username, device_id)
        self._announce(username, device_id)

    def wake(self, username: str, device_id: str) -> None:
        """Says that something may have come for a device; to this worker alone."""
        if (service := self._services.get((username, device_id))) is not None:
            self._look_again(service)

    async def tick(self) -> None:
        """Wakes the devices for which something is due, or that wait for what others settle; one statement."""
        if not self._services:
            return
        for service in self._services.values():
            if service.group.blocked or service.group.ready:
                self._look_again(service)
        for key in await self._deliveries.list_due(list(self._services)):
            self.wake(*key)

    async def close(self) -> None:
        """Ends all tasks. The streams are over; what could not be written comes again."""
        tasks = [service.task for service in self._services.values() if service.task is not None]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=1)
            for task in late:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _note_grown(self, key: tuple[str, str], conversation_id: str) -> None:
        if (service := self._services.get(key)) is not None:
            service.group.note_ready([conversation_id])
            service.wake.set()

    def _take(self, session: Session, acks: list[PendingAck]) -> None:
        service = self._by_session[session]
        session.outbox.expect_answers(len(acks))
        service.group.acks += acks
        service.wake.set()

    def _look_again(self, service: _Service) -> None:
        service.group.invalidate()
        service.wake.set()

    def _start(self, group: Group) -> _Service:
        service = _Service(group)
        self._services[group.key] = service
        service.task = asyncio.create_task(self._serve(service), name=f"manual {group.username} {group.device_id}")
        return service

    async def _serve(self, service: _Service) -> None:
        group = service.group
        try:
            while not group.is_over:
                await self._wait(service)
                try:
                    while await self._turn(service):
                        pass
                except Unavailable as error:
                    _log.warning("manual acks wait", username=group.username, error=str(error))
                    await asyncio.sleep(_RETRY_SECONDS)
                    service.wake.set()
        except Exception:  # noqa: BLE001 # its streams are told, and the others go on
            incident_id = secrets.token_hex(6)
            _log.exception("manual acks failed", incident=incident_id)
            for consumer in group.consumers.values():
                consumer.session.state.end(errors.Internal(incident_id))
        finally:
            if self._services.get(group.key) is service:
                del self._services[group.key]

    async def _wait(self, service: _Service) -> None:
        until = service.due_time if service.gather_time is None else min(service.due_time, service.gather_time)
        try:
            async with asyncio.timeout_at(None if until == math.inf else until):
                await service.wake.wait()
        except TimeoutError:
            pass  # the turn sees that it is due
        service.wake.clear()

    async def _turn(self, service: _Service) -> bool:
        """Does what there is to do; False when there is nothing more for now."""
        group = service.group
        await self._write_acks(group)
        await self._write_releases(group)
        await self._take_back_lost(group)
        loop = asyncio.get_running_loop()
        places = group.places(loop.time())
        service.is_short = not places
        is_due = service.due_time <= loop.time()
        if not group.consumers or not (is_due or (places and (group.ready or group.needs_rescan))):
            service.gather_time = None
            return bool(group.acks or group.releases)
        if not is_due and group.is_crowded(len(places)):
            service.gather_time = service.gather_time or loop.time() + _GATHER_SECONDS
            if loop.time() < service.gather_time:
                return bool(group.acks or group.releases)
        service.gather_time = None
        chosen = group.next_grown() if places else []
        try:
            claim = await self._deliveries.claim(*group.key, places, chosen)
        except BaseException:
            group.note_ready(chosen)
            group.has_lost_claim = True
            raise
        service.due_time = math.inf if claim.due_seconds is None else loop.time() + claim.due_seconds
        has_progress = group.note_claim(claim, len(places))
        self._hand_on(group, claim, loop.time())
        return has_progress or bool(group.acks or group.releases)

    async def _write_releases(self, group: Group) -> None:
        while group.releases:
            release = group.releases[0]
            if await self._deliveries.release(*group.key, release.session_id, counts=release.counts):
                group.invalidate()
                self._announce(*group.key)
            group.releases.pop(0)

    async def _take_back_lost(self, group: Group) -> None:
        """Undoes a claim whose answer was lost: nobody would see what it gave before its deadline, an hour perhaps."""
        if group.has_lost_claim:
            await self._deliveries.take_back(*group.key, group.holdings(asyncio.get_running_loop().time()))
            group.has_lost_claim = False
            group.invalidate()

    def _hand_on(self, group: Group, claim: Claim, now: float) -> None:
        for delivery in claim.deliveries:
            consumer = group.consumers.get(delivery.owner)
            if consumer is None:
                continue  # the stream ended meanwhile, and its release comes after this claim
            entry = delivery.entry
            consumer.hold(entry.conversation_id, entry.seq, now)
            consumer.session.outbox.put(responses.delivery(entry, delivery.attempt), 1)
            self.delivered_counts["first" if delivery.attempt == 1 else "again"] += 1

    async def _write_acks(self, group: Group) -> None:
        while group.acks:
            is_nack = group.acks[0].nack is not None
            batch: dict[tuple[str, int], PendingAck] = {}
            for pending in group.acks[:_MAX_ACKS]:
                # What came first comes first: nacks and acks take turns, and none is twice in a statement.
                if (pending.nack is not None) != is_nack or (pending.conversation_id, pending.seq) in batch:
                    break
                batch[pending.conversation_id, pending.seq] = pending
            try:
                settlements = await self._settle(group, list(batch.values()), is_nack=is_nack)
            except Unavailable:
                for pending in batch.values():
                    pending.is_tried = True
                raise
            del group.acks[: len(batch)]
            if is_nack:
                for position, pending in batch.items():
                    group.note_failed(pending.session, position)
                group.invalidate()
            else:
                group.note_settled(list(batch))
                self._tell_acked(group.username, batch)
            for pending, settlement in zip(batch.values(), settlements, strict=True):
                self._answer(pending, settlement)

    def _tell_acked(self, username: str, positions: Iterable[tuple[str, int]]) -> None:
        for conversation_id in {conversation_id for conversation_id, _ in positions}:
            self._on_acked(conversation_id, username)

    async def _settle(self, group: Group, batch: list[PendingAck], *, is_nack: bool) -> list[Settlement]:
        if is_nack:
            return await self._deliveries.nack(*group.key, [one.nack for one in batch if one.nack is not None])
        return await self._deliveries.ack(*group.key, [(one.conversation_id, one.seq) for one in batch])

    def _answer(self, pending: PendingAck, settlement: Settlement) -> None:
        outbox = pending.session.outbox
        outbox.note_answers(1)
        is_nack = pending.nack is not None
        refusal = _refusal(pending.conversation_id, pending.seq, settlement, is_nack=is_nack)
        if is_nack and pending.is_tried and isinstance(refusal, errors.DeliveryNotHeld):
            refusal = None  # its own earlier attempt may be why
        if refusal is not None:
            outbox.put_error(pending.correlation_id, refusal)
        elif not outbox.unanswered_count:
            outbox.wake()


def _refusal(conversation_id: str, seq: int, settlement: Settlement, *, is_nack: bool) -> errors.ParleyError | None:
    """Says what is wrong with an ack or a nack; an ack of what is settled is repeated, and right."""
    if settlement.is_found:
        return None
    if not settlement.is_member:
        return errors.ConversationNotFound(conversation_id)
    if seq > settlement.claimed_seq:
        return errors.AckBeyondDelivered(conversation_id, settlement.claimed_seq)
    if is_nack or settlement.is_dead:
        return errors.DeliveryNotHeld(conversation_id, seq, is_dead=settlement.is_dead)
    return None
