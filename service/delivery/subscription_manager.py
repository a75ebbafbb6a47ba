"""Attaches sessions to conversations: at hello, when the user is added somewhere, and when a message of that was lost.

Each time the same three steps: read (bus and database), decide (`attach.py`), apply (hub, session, replay). The number
of statements does not depend on the number of conversations.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import structlog

from service.convert import responses
from service.delivery.admission import Admission
from service.delivery.attach import Hello, Plan, conversations_of, foreign_epochs, plan_hello, plan_more
from service.delivery.bus_messages import user_channel
from service.delivery.changed_memberships import ChangedMemberships
from service.delivery.channel_opener import ChannelOpener
from service.delivery.hub import Hub
from service.delivery.replay import Replayer
from service.delivery.session import Session
from service.domain.errors import ParleyError
from storage.errors import Unavailable
from storage.postgres.devices.cursors import Cursors
from storage.postgres.log.epochs import Epochs
from storage.redis.bus import Bus

_log = structlog.get_logger(__name__)

# Marks of a hello that are written as one piece: far below the limit of a frame, with the longest ids.
_MARKS_A_PIECE = 1000
_RETRY_SECONDS = 0.25


class SubscriptionManager:
    """Which conversations the sessions of a worker receive.

    Args:
        changed_memberships: users whose memberships `run` reads again.
        epoch: the deployment's; positions of another one end where that one's log is still this one's.
    """

    def __init__(
        self,
        hub: Hub,
        replayer: Replayer,
        cursors: Cursors,
        epochs: Epochs,
        admission: Admission,
        opener: ChannelOpener,
        bus: Bus,
        changed_memberships: ChangedMemberships,
        *,
        epoch: int,
    ) -> None:
        self._hub = hub
        self._replayer = replayer
        self._cursors = cursors
        self._epochs = epochs
        self._admission = admission
        self._opener = opener
        self._bus = bus
        self._changed_memberships = changed_memberships
        self._epoch = epoch
        self._versions: dict[str, int] = {}
        self._refreshing: dict[str, asyncio.Task[None]] = {}
        self._stale: set[str] = set()
        # Sessions whose hello is under way, and whether a refresh came in between: it must not place them instead.
        self._attaching: dict[Session, bool] = {}

    async def attach(
        self, session: Session, explicit: Mapping[str, int], *, starts_at_latest: bool, epoch: int = 0
    ) -> list[ParleyError]:
        """Puts a new session where its hello says; returns what was wrong with its explicit positions.

        Positions of another epoch, or above the end, are brought back to where the log is what it was, and the session
        is told so by resets before anything else.

        Args:
            explicit: by conversation, the last seq that the device has.
            starts_at_latest: where the others begin: now, or after the device's acks.
            epoch: the one that the device knows; 0: not said.

        Raises:
            TooManyDevices: the device is new, and the user has as many as a user may have.
            Overloaded: too many others said hello at the same time.
            AckModeMismatch: the device acknowledges in another way, and that is in use.
            Unavailable: (of `storage.errors`) the database is.
        """
        hello = Hello(explicit, starts_at_latest, epoch)
        await self._admission.enroll(session)
        async with self._hello(session):
            await self._follow_memberships(session.username)
            starts = await self._cursors.list_subscription_starts(
                session.username,
                session.device_id,
                also_former=list(explicit),
                has_all_former=hello.is_of_another_epoch(self._epoch),
            )
            foreign = foreign_epochs(hello, starts, self._epoch)
            common_seqs = await self._epochs.common_seqs(foreign) if foreign else {}
            plan = plan_hello(hello, starts, common_seqs, await self._open_channels(conversations_of(starts)))
            self._hub.place(session, plan)
            self._begin(session, plan)
            self._replayer.schedule(session)
        return plan.refusals

    async def listen(self, session: Session, *, starts_at_latest: bool) -> None:
        """Makes a new session with manual acks live everywhere: it is told what grows, and takes no entries.

        Args:
            starts_at_latest: a new device begins at the end, also where the user has read something.

        Raises:
            TooManyDevices: the device is new, and the user has as many as a user may have.
            Overloaded: too many others said hello at the same time.
            AckModeMismatch: the device acknowledges in another way, and that is in use.
            Unavailable: (of `storage.errors`) the database is.
        """
        await self._admission.enroll(session, starts_at_latest=starts_at_latest)
        async with self._hello(session):
            positions = await self._open_channels(await self._follow_memberships(session.username))
            self._hub.place(session, Plan(live=list(positions.items())))

    async def attach_own(self, session: Session) -> None:
        """Attaches a session to what its stream stored messages in, if no message told of the membership yet.

        A conversation that the user has left meanwhile is brought up to the removal. Waits while the database is away.
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

    async def run(self) -> None:
        """Refreshes users whose memberships changed until it is cancelled."""
        while True:
            for username in await self._changed_memberships.take():
                self.refresh(username)

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

    async def refresh_changed(self) -> None:
        """Compares the version of every user here with the one last seen; one statement. Repairs lost messages."""
        for username in [name for name in self._versions if name not in self._hub.users]:
            del self._versions[username]
        if self._versions:
            for username in await self._cursors.changed_versions(self._versions):
                self.refresh(username)

    @asynccontextmanager
    async def _hello(self, session: Session) -> AsyncIterator[None]:
        """Holds the turn of a hello; a refresh that came in between, and left the session alone, is made up for.

        Raises:
            Overloaded: the turn did not come in time.
        """
        async with self._admission.turn():
            self._hub.enter(session)
            self._attaching[session] = False
            try:
                yield
            finally:
                if self._attaching.pop(session):
                    self.refresh(session.username)

    async def _follow_memberships(self, username: str) -> list[str]:
        """Subscribes to the user's channel, then reads the membership version; returns the conversations of then."""
        await self._bus.subscribe([user_channel(username)])
        version, conversation_ids = await self._cursors.read_memberships(username)
        # Not raised for another stream of the user that is here already: what that one has not seen must still differ.
        self._versions.setdefault(username, version)
        return conversation_ids

    async def _open_channels(self, conversation_ids: list[str]) -> dict[str, int]:
        """Opens channels; returns their positions."""
        await self._opener.open(conversation_ids)
        return {name: self._hub.channels[name].position for name in conversation_ids}

    def _begin(self, session: Session, plan: Plan) -> None:
        """Puts what the client is told of its positions before everything else: resets, then marks."""
        resets, marks = plan.resets, plan.caught_up_marks()
        for first in range(0, len(resets), _MARKS_A_PIECE):
            session.outbox.put_alone(responses.resets(resets[first : first + _MARKS_A_PIECE], self._epoch))
        for first in range(0, len(marks), _MARKS_A_PIECE):
            session.outbox.put(responses.caught_up(marks[first : first + _MARKS_A_PIECE]))
        session.subscriptions.begin_catching_up()

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
        """Attaches an open session to further conversations of its user; one statement, and one for new channels.

        Raises:
            Unavailable: (of `storage.errors`) the database is.
        """
        if not conversation_ids:
            return
        starts = await self._cursors.list_subscription_starts(
            session.username, session.device_id, only=conversation_ids
        )
        channel_positions = await self._open_channels(conversations_of(starts))
        if session not in self._hub.users.get(session.username, ()):
            return  # the stream ended meanwhile
        subscriptions = session.subscriptions
        plan = plan_more(
            starts,
            channel_positions,
            attached=subscriptions.conversation_ids,
            lagging=subscriptions.lags,
            finished=subscriptions.finished,
        )
        self._hub.place(session, plan)
        self._replayer.schedule(session)
