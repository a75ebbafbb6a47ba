"""Brings sessions that lag up to the live flow: at hello, and after their buffer was full.

Serves a few dozen conversations of a session at a time, in turn, so that one large backlog holds back nobody; a worker
serves a few sessions at a time, in the order in which they asked. Memory is bounded by the sessions' buffers. A step
takes from the hub's tails what it can, then from the history that all replays share; only what a user may see in parts
is read for that user alone. A session joins the live flow when its position equals the hub's, in one event-loop step;
what a step reads beyond the hub's position first advances the hub, for all.
"""

import asyncio
import secrets
from collections.abc import Callable, Mapping

import structlog

from service.convert import responses
from service.convert.entry_kinds import membership_of
from service.convert.items import Item
from service.delivery.channel import PARK_SECONDS, Channel
from service.delivery.history import History
from service.delivery.hub import Hub
from service.delivery.session import Session
from service.delivery.subscriptions import Lag
from service.domain.clock import Clock
from service.domain.errors import Internal
from storage.errors import Unavailable
from storage.postgres.log.messages import Messages
from storage.records import Backlog, Position

_log = structlog.get_logger(__name__)

_CONVERSATIONS_A_STEP = 32
# A page of one conversation.
ENTRIES_EACH = 100
_CONCURRENT_STEPS = 4
_RETRY_SECONDS = 0.25
_PART_BYTES = 128 * 1024


class Replayer:
    """All replays of a worker.

    Args:
        clock: for the waits between steps that moved nothing.
        on_complete: called when a session has the past of all conversations of its hello.
    """

    def __init__(self, messages: Messages, hub: Hub, clock: Clock, *, on_complete: Callable[[Session], None]) -> None:
        self._messages = messages
        self._clock = clock
        self._on_complete = on_complete
        self._hub = hub
        self.history = History(messages)
        self._slots = asyncio.Semaphore(_CONCURRENT_STEPS)
        self._tasks: dict[Session, asyncio.Task[None]] = {}
        self.step_count = 0
        self.running_count = 0

    @property
    def waiting_count(self) -> int:
        """How many sessions wait for their turn, or for a moment between their steps."""
        return len(self._tasks) - self.running_count

    def schedule(self, session: Session) -> None:
        """Goes on with a session's replay, if it needs one and has room."""
        if session.subscriptions.lags and session.has_room and session not in self._tasks:
            task = asyncio.create_task(self._run(session), name=f"replay {session.session_id:x}")
            self._tasks[session] = task
            task.add_done_callback(lambda task: self._ended(session, task))

    async def drop(self, session: Session) -> None:
        """Ends the replay of a session that is gone."""
        task = self._tasks.get(session)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def close(self) -> None:
        """Ends all replays."""
        for session in list(self._tasks):
            await self.drop(session)

    def _ended(self, session: Session, task: asyncio.Task[None]) -> None:
        del self._tasks[session]
        if task.cancelled():
            return
        if (error := task.exception()) is not None:
            incident_id = secrets.token_hex(6)
            _log.error("replay failed", incident=incident_id, exc_info=error)
            session.state.end(Internal(incident_id))
            return
        self.schedule(session)  # room may have come after the last look

    async def _run(self, session: Session) -> None:
        while session.subscriptions.lags and session.has_room:
            try:
                async with self._slots:
                    self.running_count += 1
                    try:
                        has_progress = await self._step(session)
                    finally:
                        self.running_count -= 1
            except Unavailable as error:
                _log.warning("replay waits", session=f"{session.session_id:x}", error=str(error))
                await self._clock.sleep(_RETRY_SECONDS)
                continue
            # What is all in memory awaits nothing: others must come to their turn between steps.
            await (asyncio.sleep(0) if has_progress else self._clock.sleep(PARK_SECONDS))

    async def _step(self, session: Session) -> bool:
        """Serves the next conversations; False when none moved."""
        self.step_count += 1
        moved = False
        shared: list[Position] = []
        own: list[Position] = []
        room_count = session.room_count or _CONVERSATIONS_A_STEP * ENTRIES_EACH
        for conversation_id, lag in session.subscriptions.next_lags(min(_CONVERSATIONS_A_STEP, room_count)):
            position = Position(conversation_id, lag.position)
            if not lag.is_member or lag.floor_seq > lag.position + 1:
                own.append(position)
                continue
            channel = self._hub.channels.get(conversation_id)
            items = channel.tail_after(lag.position) if channel is not None else None
            if items is None:
                shared.append(position)
            elif _removes(items, session.username):
                own.append(position)
            else:
                moved |= self._push(session, conversation_id, lag, items)
        if shared:
            moved |= await self._serve_shared(session, shared, own)
        if own:
            moved |= await self._serve_own(session, own, limit_each=min(ENTRIES_EACH, room_count))
        return moved

    async def _serve_shared(self, session: Session, positions: list[Position], own: list[Position]) -> bool:
        """Serves from the history that all replays share; what the user may see in parts is added to `own`."""
        moved = False
        history = await self.history.read_after(positions, limit_each=ENTRIES_EACH)
        for position in positions:
            items = history[position.conversation_id]
            if _removes(items, session.username):
                own.append(position)
            else:
                moved |= self._take_part(session, position, items)
        return moved

    async def _serve_own(self, session: Session, positions: list[Position], *, limit_each: int) -> bool:
        """Serves what the user may see, read for this user alone by one statement."""
        moved = False
        lags = session.subscriptions.lags
        members = {position.conversation_id for position in positions if _is_member(lags, position)}
        backlog = await self._messages.read_backlog(session.username, positions, limit_each=limit_each)
        for position in positions:
            if (position.conversation_id in members) != _is_member(lags, position):
                moved = True  # the user was removed or came back meanwhile, which the page may not know: read it again
            else:
                moved |= self._take_page(session, position, backlog.get(position.conversation_id))
        return moved

    def _take_part(self, session: Session, position: Position, items: list[Item]) -> bool:
        """Takes the entries that follow a position, for a user who may see all of them."""
        lag = session.subscriptions.lags.get(position.conversation_id)
        if lag is None or lag.position != position.seq:
            return True  # it went another way meanwhile: the stream ended, or the user was removed
        self._advance_hub(position.conversation_id, items)
        return self._push(session, position.conversation_id, lag, items)

    def _advance_hub(self, conversation_id: str, items: list[Item]) -> None:
        channel = self._hub.channels.get(conversation_id)
        if channel is not None and items and items[-1].seq > channel.position:
            self._hub.advance(conversation_id, items)

    def _take_page(self, session: Session, position: Position, page: Backlog | None) -> bool:
        conversation_id = position.conversation_id
        lag = session.subscriptions.lags.get(conversation_id)
        if lag is None or lag.position != position.seq:
            return True  # it went another way meanwhile: the stream ended, or the user was removed
        if page is None:
            self._finish(session, conversation_id, lag.position)
            return True
        items = [responses.entry_item(entry) for entry in page.entries]
        if page.is_member:
            self._advance_hub(conversation_id, items)
        is_whole = not items or items[-1].seq >= page.end_seq
        # One who came back meanwhile may see the tail only from there on.
        lag.limit(is_member=page.is_member, floor_seq=page.floor_seq)
        return self._push(session, conversation_id, lag, items, end_seq=page.end_seq if is_whole else None)

    def _push(
        self, session: Session, conversation_id: str, lag: Lag, items: list[Item], *, end_seq: int | None = None
    ) -> bool:
        """Puts entries into the outbox while there is room; makes the subscription live when it has caught up.

        Args:
            end_seq: where the log ended for the user when `items` was read; None when there is more behind them.
        """
        before = lag.position
        is_all_taken = True
        for part in _parts(items):
            taken_count = session.offer(conversation_id, part, b"".join([item.body for item in part]))
            if taken_count:
                lag.advance(part[taken_count - 1].seq)
            if taken_count < len(part):
                is_all_taken = False
                break
        if is_all_taken and end_seq is not None:
            lag.advance(end_seq)
        channel = self._hub.channels.get(conversation_id)
        if not lag.is_member:
            if is_all_taken and end_seq is not None:
                self._finish(session, conversation_id, lag.position)
        # One who came back is put into the conversation by the subscriptions first.
        elif is_all_taken and channel is not None and conversation_id in session.subscriptions.conversation_ids:
            self._join_if_level(session, channel, lag)
        has_moved = lag.position != before
        is_behind = conversation_id in session.subscriptions.lags
        # Also one that was taken whole: a page that just fills the window would otherwise come first for ever.
        if has_moved and is_behind:
            session.subscriptions.note_served(conversation_id)
        return has_moved or not is_behind

    def _join_if_level(self, session: Session, channel: Channel, lag: Lag) -> None:
        if lag.position > channel.position:
            self._hub.note_last_seq(channel.conversation_id, lag.position)
        elif lag.position == channel.position:
            session.subscriptions.catch_up(channel.conversation_id)
            self._hub.join(channel, session)
            self._mark(session, channel.conversation_id, channel.position)

    def _finish(self, session: Session, conversation_id: str, position: int) -> None:
        """A former member has everything up to the entry of the removal; or the conversation is gone."""
        session.subscriptions.catch_up(conversation_id)
        session.subscriptions.finish(conversation_id, position)
        self._hub.leave(conversation_id, session)
        self._mark(session, conversation_id, position)

    def _mark(self, session: Session, conversation_id: str, seq: int) -> None:
        is_news, is_complete = session.subscriptions.note_caught_up(conversation_id)
        if is_news:
            session.outbox.put(responses.caught_up([(conversation_id, seq, is_complete)]))
            if is_complete:
                self._on_complete(session)


def _is_member(lags: Mapping[str, Lag], position: Position) -> bool:
    lag = lags.get(position.conversation_id)
    return lag is not None and lag.is_member


def _removes(items: list[Item], username: str) -> bool:
    """Whether one of the entries takes the user out: what is above it is not for the user any more."""
    for item in items:
        effect = membership_of(item)
        if effect is not None and (effect.are_all_removed or username in effect.removed):
            return True
    return False


def _parts(items: list[Item]) -> list[list[Item]]:
    """Cuts entries into parts that a session's buffer can take one by one."""
    parts: list[list[Item]] = []
    size_bytes = _PART_BYTES
    for item in items:
        if size_bytes >= _PART_BYTES:
            parts.append([])
            size_bytes = 0
        parts[-1].append(item)
        size_bytes += len(item.body)
    return parts
