"""The verbs about what a device has dealt with: ack by a call, ack and flow by a frame.

A call names any device of its user, so that the log is asked how far an ack may go, and the ack is stored at once. A
stream may acknowledge what was delivered to it, so that no statement is needed; `delivery/acks.py` stores in batches.
What a device with manual acks settles goes to `consumers/service.py` by either way.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from service.convert.positions import highest
from service.delivery.acks import AckWriter
from service.delivery.device_modes import DeviceModes
from service.delivery.hub import Hub
from service.delivery.session import Session
from service.domain.errors import (
    AckBeyondDelivered,
    ConversationNotFound,
    InvalidRequest,
    ParleyError,
    TooManyDevices,
)
from storage.postgres.devices.cursors import Ack, Cursors
from storage.postgres.log.epochs import Epochs
from storage.records import AckMode

# Settles single messages for a caller outside a stream: (user, device, positions) -> refusals.
SettleNow = Callable[[str, str, Sequence[tuple[str, int]]], Awaitable[list[ParleyError]]]
# Settles single messages for a stream, which is told of refusals: (session, positions, correlation id).
Settle = Callable[[Session, Sequence[tuple[str, int]], int], None]


class AckService:
    """Takes the acks of devices. Positions are (conversation, seq) with checked ids and seqs of 0 or more.

    Args:
        writer: stores the acks of streams.
        settle: of `ManualDelivery`, for streams.
        settle_now: of `ManualDelivery`, for calls.
        on_acked: called with (conversation, user) of acks that moved a cursor.
        epoch: the epoch that this worker began with.
        max_devices: how many devices with cursors a user may have.
    """

    def __init__(
        self,
        cursors: Cursors,
        epochs: Epochs,
        modes: DeviceModes,
        hub: Hub,
        writer: AckWriter,
        *,
        settle: Settle,
        settle_now: SettleNow,
        on_acked: Callable[[str, str], None],
        epoch: int,
        max_devices: int,
    ) -> None:
        self._cursors = cursors
        self._epochs = epochs
        self._modes = modes
        self._hub = hub
        self._writer = writer
        self._settle = settle
        self._settle_now = settle_now
        self._on_acked = on_acked
        self._epoch = epoch
        self._max_devices = max_devices

    async def ack(self, username: str, device_id: str, positions: Sequence[tuple[str, int]], *, epoch: int) -> None:
        """Stores what a device has; six statements at most. A repeat, or a lower seq, changes nothing.

        Args:
            positions: each acknowledges all of its conversation up to its seq; with manual acks one message.
            epoch: the epoch of the positions, as the client knows it; 0: not said.

        Raises:
            ConversationNotFound: the user never was in one of the conversations.
            AckBeyondDelivered: a seq is above the end of the log, or of what both epochs have.
            InvalidRequest: the device acknowledges manually, and a position names no message.
            TooManyDevices: the device is new, and the user has as many as one may have.
        """
        wanted = highest(positions)
        present, common_seqs = await self._compare_epochs(epoch, wanted)
        is_manual = await self._modes.is_manual(username, device_id)
        if common_seqs is not None or not is_manual:
            await self._check_ends(wanted, username, device_id, common_seqs)
        if is_manual:
            _check_messages(positions)
            for refusal in await self._settle_now(username, device_id, list(dict.fromkeys(positions))):
                raise refusal
            return
        if not await self._cursors.enroll_device(username, device_id, max_devices=self._max_devices):
            raise TooManyDevices(self._max_devices)
        acks = [Ack(username, device_id, name, seq) for name, seq in wanted.items()]
        known_epoch = min(epoch or present, present)  # one that never was may be any number
        for name, member in await self._cursors.store_acks(acks, epoch=present, known_epoch=known_epoch):
            self._on_acked(name, member)

    def ack_on_stream(self, session: Session, positions: Sequence[tuple[str, int]], correlation_id: int) -> None:
        """Takes what a stream acknowledges; the session is told of what is refused, each position by itself.

        Args:
            positions: as of `ack`; with manual acks each must name a message.
        """
        if session.mode.ack_mode is AckMode.MANUAL:
            self._settle(session, list(dict.fromkeys(positions)), correlation_id)
            return
        for conversation_id, seq in highest(positions).items():
            refusal = self._check_delivered(session, conversation_id, seq)
            if refusal is not None:
                session.outbox.put_error(correlation_id, refusal)
                continue
            self._writer.note(session.username, session.device_id, conversation_id, seq)
            if session.window is not None:
                session.window.ack(conversation_id, seq)
        session.outbox.wake()

    def flow(self, session: Session, total_messages: int) -> None:
        """Opens the window of a stream as if the first messages that it delivered were acknowledged.

        Raises:
            InvalidRequest: the stream has not delivered so many messages.
        """
        window = session.window
        if window is not None and not window.flow(total_messages):
            raise InvalidRequest(
                "total_messages", f"is above what this stream brought, which is {window.delivered_count}"
            )
        session.outbox.wake()

    async def settle(self, username: str, device_id: str) -> None:
        """Returns when the acks that streams of a device sent so far are stored.

        Raises:
            Unavailable: the database is; the acks wait on.
        """
        await self._writer.settle(username, device_id)

    def _check_delivered(self, session: Session, conversation_id: str, seq: int) -> ParleyError | None:
        """Returns why a stream may not acknowledge so far; None when it may."""
        delivered_seq = self._hub.delivered_seq(conversation_id, session)
        if delivered_seq is None:
            return ConversationNotFound(conversation_id)
        if seq > delivered_seq:
            return AckBeyondDelivered(conversation_id, delivered_seq)
        return None

    async def _compare_epochs(self, claimed: int, wanted: Iterable[str]) -> tuple[int, dict[str, int] | None]:
        """Returns the present epoch and, for positions of another one, the last seq that both have of each log.

        Args:
            claimed: what the client said; 0: nothing.
            wanted: conversations.
        """
        if claimed in (0, self._epoch):
            return self._epoch, None
        # It may be this worker that does not know of the restore yet.
        present = await self._epochs.get_epoch()
        if claimed == present:
            return present, None
        return present, await self._epochs.common_seqs(dict.fromkeys(wanted, claimed))

    async def _check_ends(
        self, wanted: Mapping[str, int], username: str, device_id: str, common_seqs: Mapping[str, int] | None
    ) -> None:
        """Refuses conversations of others, and seqs above the end of the log or of what both epochs have."""
        names = list(wanted)
        found = await self._cursors.list_subscription_starts(username, device_id, only=names, also_former=names)
        last_seqs = {item.conversation_id: item.last_seq for item in found}
        for conversation_id, seq in wanted.items():
            if conversation_id not in last_seqs:
                raise ConversationNotFound(conversation_id)
            end_seq = last_seqs[conversation_id]
            if common_seqs is not None:
                end_seq = min(end_seq, common_seqs[conversation_id])
            if seq > end_seq:
                raise AckBeyondDelivered(conversation_id, end_seq)


def _check_messages(positions: Iterable[tuple[str, int]]) -> None:
    """Refuses positions that name no message: a manual ack settles exactly one."""
    for _, seq in positions:
        if seq < 1:
            raise InvalidRequest("positions.seq", "must be the seq of a message")
