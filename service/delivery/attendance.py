"""Which conversations a session receives: at hello, when its user is added somewhere, when the bus lost word of it.

The seam: for a conversation that nobody here listened to, subscribe, await the confirmation, then read its last seq as
the position; what comes meanwhile is parked by the channel. The number of statements does not depend on how many
conversations the user has.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager

import structlog

from service.convert import responses
from service.delivery.bus_messages import USER, conversation_channel, subscribed_names, user_channel
from service.delivery.changed_memberships import ChangedMemberships
from service.delivery.channel import Channel
from service.delivery.device_modes import DeviceModes
from service.delivery.hub import Hub
from service.delivery.replay import Replayer
from service.delivery.session import Session
from service.domain import errors
from storage.errors import Unavailable
from storage.postgres.devices.cursors import Cursors
from storage.postgres.log.epochs import Epochs
from storage.records import SubscriptionStart
from storage.redis.bus import Bus

_log = structlog.get_logger(__name__)

# In a storm of reconnects hellos wait their turn, so that they leave connections of the pool to others.
_CONCURRENT_HELLOS = 3
_HELLO_WAIT_SECONDS = 30.0
# Marks of a hello that are written as one piece: far below the limit of a frame, with the longest ids.
_MARKS_A_PIECE = 1000
_RETRY_SECONDS = 0.25


class SubscriptionManager:
    """Attaches sessions to conversations.

    Args:
        epoch: the deployment's; positions of another one end where that one's log is still this one's.
        max_devices: devices of a user that keep positions.
    """

    def __init__(
        self,
        hub: Hub,
        replayer: Replayer,
        cursors: Cursors,
        epochs: Epochs,
        modes: DeviceModes,
        bus: Bus,
        changed_memberships: ChangedMemberships,
        *,
        epoch: int,
        max_devices: int,
    ) -> None:
        self._hub = hub
        self._replayer = replayer
        self._cursors = cursors
        self._epochs = epochs
        self._modes = modes
        self._bus = bus
        self._changed_memberships = changed_memberships
        self._epoch = epoch
        self._max_devices = max_devices
        self._opening: dict[str, asyncio.Task[None]] = {}
        self._versions: dict[str, int] = {}
        self._refreshing: dict[str, asyncio.Task[None]] = {}
        self._stale: set[str] = set()
        # Sessions whose hello is under way, and whether a refresh came in between: it must not place them instead.
        self._attaching: dict[Session, bool] = {}
        self._hello_slots = asyncio.Semaphore(_CONCURRENT_HELLOS)

    async def attach(
        self, session: Session, explicit: Mapping[str, int], *, starts_at_latest: bool, epoch: int = 0
    ) -> list[errors.ParleyError]:
        """Puts a new session where its hello says; gives what was wrong with its explicit positions.

        Positions of another epoch, or above the end, are brought back to where the log is what it was, and the session
        is told so by resets before anything else.

        Args:
            explicit: by conversation, the last seq that the device has.
            starts_at_latest: where the others begin: now, or after the device's acks.
            epoch: the one that the device knows; 0: not said.

        Raises:
            TooManyDevices: the device is new and the user has as many as one may have.
            Overloaded: too many others said hello at the same time.
            AckModeMismatch: the device acknowledges in another way, and that is in use.
            Unavailable: the database is.
        """
        await self._enroll(session)
        async with self._hello(session):
            return await self._attach(session, explicit, starts_at_latest=starts_at_latest, epoch=epoch)

    @asynccontextmanager
    async def _hello(self, session: Session) -> AsyncIterator[None]:
        """Waits for the turn of a hello; a refresh that came in between, and left the session alone, is made up for.

        Raises:
            Overloaded: the turn did not come in time.
        """
        async with self._turn():
            self._hub.users.setdefault(session.username, set()).add(session)
            self._attaching[session] = False
            try:
                yield
            finally:
                if self._attaching.pop(session):
                    self.refresh(session.username)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(_HELLO_WAIT_SECONDS):
                await self._hello_slots.acquire()
        except TimeoutError:
            raise errors.Overloaded("hellos") from None
        try:
            yield
        finally:
            self._hello_slots.release()

    async def _attach(
        self, session: Session, explicit: Mapping[str, int], *, starts_at_latest: bool, epoch: int
    ) -> list[errors.ParleyError]:
        username = session.username
        await self._open_channels(await self._meet(username))
        enrollments = await self._cursors.list_subscription_starts(
            username,
            session.device_id,
            also_former=list(explicit),
            # What it has of them may be void, and nobody would say so when the user is added again.
            has_all_former=not starts_at_latest and epoch not in (0, self._epoch),
        )
        await self._open_channels(item.conversation_id for item in enrollments if item.is_member)
        starts = {item.conversation_id: item.last_seq if starts_at_latest else item.start_seq for item in enrollments}
        refusals: list[errors.ParleyError] = [errors.ConversationNotFound(name) for name in explicit.keys() - starts]
        starts.update({name: seq for name, seq in explicit.items() if name in starts})
        claims = {} if starts_at_latest else {item.conversation_id: epoch or item.cursor_epoch for item in enrollments}
        claims.update({name: epoch for name in explicit if name in starts})
        resets = await self._find_resets(enrollments, starts, claims)
        for first in range(0, len(resets), _MARKS_A_PIECE):
            session.outbox.put_alone(responses.resets(resets[first : first + _MARKS_A_PIECE], self._epoch))
        starts.update(resets)
        marks = [
            (item.conversation_id, seq, False)
            for item in enrollments
            if (seq := self._place(session, item, starts[item.conversation_id])) is not None
        ]
        session.subscriptions.void_ends(name for name, _ in resets)
        session.subscriptions.begin_catching_up()
        if not session.subscriptions.lags:
            name, seq, _ = marks.pop() if marks else ("", 0, True)
            marks.append((name, seq, True))
        for first in range(0, len(marks), _MARKS_A_PIECE):
            session.outbox.put(responses.caught_up(marks[first : first + _MARKS_A_PIECE]))
        self._replayer.schedule(session)
        return refusals

    async def _meet(self, username: str) -> list[str]:
        """Sees to it that word of a user's memberships is heard from now on; gives the conversations that there are."""
        await self._bus.subscribe([user_channel(username)])
        version, conversation_ids = await self._cursors.read_memberships(username)
        # Not raised for another stream of the user that is here already: what that one has not seen must still differ.
        self._versions.setdefault(username, version)
        return conversation_ids

    async def _find_resets(
        self, enrollments: Sequence[SubscriptionStart], starts: Mapping[str, int], claims: Mapping[str, int]
    ) -> list[tuple[str, int]]:
        """Gives (conversation, where to start again) for positions that are of another epoch or above the end.

        Args:
            starts: the positions, by conversation.
            claims: the epochs that they are of; 0: not known, taken for the present one.
        """
        foreign = {name: epoch for name, epoch in claims.items() if epoch not in (0, self._epoch)}
        common = await self._epochs.common_seqs(foreign) if foreign else {}
        resets = []
        for item in enrollments:
            name, start = item.conversation_id, starts[item.conversation_id]
            if name in common or start > item.last_seq:
                resets.append((name, min(start, item.last_seq, common.get(name, start))))
        return resets

    async def attach_own(self, session: Session) -> None:
        """Attaches a session to what its stream stored messages in, if word of the membership has not come yet.

        What its user is not in any more is brought up to the removal. Waits while the database is away.
        """
        while new := [
            name for name in session.subscriptions.own_seqs if self._hub.delivered_seq(name, session) is None
        ]:
            try:
                await self._attach_more(session, new)
            except Unavailable as error:
                _log.warning("memberships not read", username=session.username, error=str(error))
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                return

    async def listen(self, session: Session, *, starts_at_latest: bool) -> None:
        """Makes a new session with manual acks live everywhere: it is told what grows, and takes no entries.

        Args:
            starts_at_latest: a new device begins at the end also where its user has read something.

        Raises:
            TooManyDevices: the device is new and the user has as many as one may have.
            Overloaded: too many others said hello at the same time.
            AckModeMismatch: the device acknowledges in another way, and that is in use.
            Unavailable: the database is.
        """
        username = session.username
        await self._enroll(session, starts_at_latest=starts_at_latest)
        async with self._hello(session):
            conversation_ids = await self._meet(username)
            await self._open_channels(conversation_ids)
            for conversation_id in conversation_ids:
                channel = self._hub.channels[conversation_id]
                session.subscriptions.attach(channel.conversation_id)
                self._hub.join(channel, session)

    def refresh(self, username: str) -> None:
        """Looks in the background whether a user with a session here is in new conversations."""
        if username not in self._hub.users:
            return
        if username in self._refreshing:
            self._stale.add(username)
            return
        task = asyncio.create_task(self._refresh(username), name=f"memberships {username}")
        self._refreshing[username] = task
        task.add_done_callback(lambda _: self._refreshed(username))

    async def run(self) -> None:
        """Refreshes users whose memberships changed until it is cancelled."""
        while True:
            for username in await self._changed_memberships.take():
                self.refresh(username)

    async def refresh_changed(self) -> None:
        """Compares the version of every user here with the one last seen; one statement. Repairs lost announcements."""
        for username in [name for name in self._versions if name not in self._hub.users]:
            del self._versions[username]
        if self._versions:
            for username in await self._cursors.changed_versions(self._versions):
                self.refresh(username)

    async def drop_idle(self) -> None:
        """Ends the subscriptions of channels and users that nobody here needs any more."""
        gone = [conversation_channel(name) for name in self._hub.drop_idle()]
        gone += [user_channel(name) for name in subscribed_names(self._bus, USER) if name not in self._hub.users]
        if gone:
            await self._bus.unsubscribe(gone)

    async def _enroll(self, session: Session, *, starts_at_latest: bool = False) -> None:
        """Notes the stream, and its device; one statement when the device is known.

        Each try is a turn of its own: who waits for the end of a device's other mode must not keep others waiting.
        """
        while not await self._modes.admit(session, self._turn):
            async with self._turn():
                is_enrolled = await self._cursors.enroll_device(
                    session.username,
                    session.device_id,
                    max_devices=self._max_devices,
                    starts_at_latest=starts_at_latest,
                )
            if not is_enrolled:
                raise errors.TooManyDevices(self._max_devices)

    def _refreshed(self, username: str) -> None:
        del self._refreshing[username]
        if username in self._stale:
            self._stale.discard(username)
            self.refresh(username)

    async def _refresh(self, username: str) -> None:
        try:
            version, conversation_ids = await self._cursors.read_memberships(username)
            for session in list(self._hub.users.get(username, ())):
                if session in self._attaching:
                    self._attaching[session] = True
                    continue
                await self._attach_more(
                    session, [name for name in conversation_ids if name not in session.subscriptions.conversation_ids]
                )
            if username in self._hub.users:
                self._versions[username] = version
        except Unavailable as error:
            # The version stays as it was, so the next comparison tries again.
            _log.warning("memberships not read", username=username, error=str(error))

    async def _attach_more(self, session: Session, conversation_ids: list[str]) -> None:
        """Attaches an open session to further conversations of its user.

        Raises:
            Unavailable: the database is.
        """
        if not conversation_ids:
            return
        username = session.username
        await self._open_channels(conversation_ids)
        for item in await self._cursors.list_subscription_starts(username, session.device_id, only=conversation_ids):
            if session in self._hub.users.get(username, ()):
                # One who comes back goes on where this stream left off, acked or not.
                position = session.subscriptions.finished.get(item.conversation_id, item.start_seq)
                self._place(session, item, min(position, item.last_seq))
        self._replayer.schedule(session)

    def _place(self, session: Session, item: SubscriptionStart, position: int) -> int | None:
        """Makes a session live or notes a lag; returns the position when it is live.

        Nothing is live above what `item` was read with: a removal that came later must still be met.

        Args:
            position: the last seq that the device has.
        """
        conversation_id, subscriptions = item.conversation_id, session.subscriptions
        if conversation_id in subscriptions.conversation_ids:
            return None
        if not item.is_member:
            if position < item.last_seq and conversation_id not in subscriptions.lags:
                subscriptions.fall_behind(
                    conversation_id, position, item.floor_seq, is_member=False, end_seq=item.last_seq
                )
            return None
        channel = self._hub.channels[conversation_id]
        subscriptions.attach(channel.conversation_id)
        if subscriptions.note_return(conversation_id):
            channel.lagging.add(session)
            channel.idle_since = None
            return None
        if position == channel.position:
            self._hub.join(channel, session)
            return channel.position
        channel.lagging.add(session)
        channel.idle_since = None
        subscriptions.fall_behind(conversation_id, position, item.floor_seq, end_seq=item.last_seq)
        return None

    async def _open_channels(self, conversation_ids: Iterable[str]) -> None:
        """Sees to it that channels are open; those that another session is opening are waited for.

        Raises:
            Unavailable: the database is.
        """
        now = asyncio.get_running_loop().time()
        new: list[str] = []
        openings: set[asyncio.Task[None]] = set()
        for conversation_id in conversation_ids:
            channel = self._hub.channels.get(conversation_id)
            if conversation_id in self._opening:
                openings.add(self._opening[conversation_id])
            elif channel is None:
                new.append(conversation_id)
            elif channel.idle_since is not None:
                channel.idle_since = now  # about to be used, so not to be dropped
        if new:
            # A task of its own: a session that goes away meanwhile must not fail those who wait for the same channels.
            opening = asyncio.create_task(self._open_new(new), name="open channels")
            self._opening.update(dict.fromkeys(new, opening))
            openings.add(opening)
        await asyncio.gather(*map(asyncio.shield, openings))

    async def _open_new(self, conversation_ids: list[str]) -> None:
        channels = {conversation_id: Channel(conversation_id) for conversation_id in conversation_ids}
        self._hub.channels.update(channels)
        try:
            await self._bus.subscribe(map(conversation_channel, conversation_ids))
            last_seqs = await self._cursors.last_seqs(conversation_ids)
            for conversation_id, channel in channels.items():
                self._hub.open(channel, last_seqs.get(conversation_id, 0))
                channel.idle_since = asyncio.get_running_loop().time()
        except BaseException:
            for conversation_id in conversation_ids:
                del self._hub.channels[conversation_id]
            raise
        finally:
            for conversation_id in conversation_ids:
                del self._opening[conversation_id]
