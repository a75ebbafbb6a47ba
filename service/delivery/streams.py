"""The open streams of a worker: how many there may be, and what ends them.

A stream ends when its token does (checked every _TICK_SECONDS against the wall clock, so a clock that jumps ends it
too), when its login ends, and when the server goes away.
"""

import asyncio
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from service.convert import responses
from service.delivery.session import Session
from service.delivery.stream_state import ENDING
from service.domain import errors
from service.domain.call import Principal
from storage.records import Revocation

# How long a stream may outlive its token.
_TICK_SECONDS = 1.0
# How long a stream that is to end may take for its last write.
_END_SECONDS = 2.0


@dataclass(slots=True, eq=False)
class OpenStream:
    """A stream and the principal of its latest token."""

    session: Session
    principal: Principal
    _task: "asyncio.Task[None] | None" = None
    _end_deadline: float | None = None

    def serve_by(self, task: "asyncio.Task[None] | None") -> None:
        """Notes the task that serves the stream."""
        self._task = task

    def authenticate(self, principal: Principal) -> None:
        """Takes the principal of a newer token.

        Raises:
            TokenInvalid: the token is of another user.
        """
        if principal.username != self.principal.username:
            raise errors.TokenInvalid("The token is of another user than this stream's.")
        self.principal = principal

    def hasten(self, now: float) -> None:
        """Cancels the task of a stream that can't end: a write that waits for its client holds it.

        Called again and again from when the end was asked for.

        Args:
            now: monotonic seconds.
        """
        if self._end_deadline is None:
            self._end_deadline = now + _END_SECONDS
        elif self._end_deadline < now and self._task is not None and self.session.state.course is ENDING:
            self.session.state.cancel()
            self._task.cancel()


class Streams:
    """All streams of a worker.

    Args:
        max_streams: how many a worker may have; further ones get `Overloaded`.
        max_streams_per_user: how many a user may have on a worker; further ones get `RateLimited`.
        is_revoked: whether a principal's login has ended.
        clock: Unix seconds, for tokens.
        monotonic: seconds, for how long an end may take.
    """

    def __init__(
        self,
        *,
        max_streams: int,
        max_streams_per_user: int,
        is_revoked: Callable[[Principal], bool],
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_streams = max_streams
        self._max_streams_per_user = max_streams_per_user
        self._is_revoked = is_revoked
        self._clock = clock
        self._monotonic = monotonic
        self._streams: set[OpenStream] = set()
        self._per_user: dict[str, int] = {}
        self._is_closing = False
        self.opened_count = 0
        self._changed = asyncio.Event()

    def limit(self, *, max_streams: int, max_streams_per_user: int) -> None:
        """Sets the limits for streams that come from now on; open streams stay."""
        self._max_streams = max_streams
        self._max_streams_per_user = max_streams_per_user

    @contextmanager
    def register(self, stream: OpenStream) -> Iterator[None]:
        """Counts a stream for as long as it is open.

        Raises:
            ShuttingDown: the server stops.
            Overloaded: the worker has as many streams as it may have.
            RateLimited: the user has as many streams as a user may have.
        """
        username = stream.principal.username
        if self._is_closing:
            raise errors.ShuttingDown
        if len(self._streams) >= self._max_streams:
            raise errors.Overloaded("streams")
        if self._per_user.get(username, 0) >= self._max_streams_per_user:
            raise errors.RateLimited("open streams of this user", 5.0)
        self._streams.add(stream)
        self.opened_count += 1
        self._per_user[username] = self._per_user.get(username, 0) + 1
        try:
            yield
        finally:
            self._streams.discard(stream)
            self._per_user[username] -= 1
            if not self._per_user[username]:
                del self._per_user[username]
            self._changed.set()

    def __len__(self) -> int:
        return len(self._streams)

    def end_revoked(self, revocation: Revocation) -> None:
        """Ends the streams of a login, or of a user's logins of before."""
        for stream in self._streams:
            if stream.principal.username == revocation.username and self._is_revoked(stream.principal):
                stream.session.state.end(errors.TokenInvalid("The login has ended."))

    async def run(self) -> None:
        """Looks at all streams every _TICK_SECONDS, until it is cancelled."""
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            self.look()

    def look(self) -> None:
        """Ends streams whose token has expired, and cancels those that were asked to end and can't."""
        wall_time, now = self._clock(), self._monotonic()
        for stream in self._streams:
            if stream.principal.expire_time <= wall_time:
                stream.session.state.end(errors.TokenExpired())
            if stream.session.state.reason is not None:
                stream.hasten(now)

    def ask_to_leave(self, *, spread_seconds: float) -> None:
        """Asks the clients of open streams to leave; new streams may still open.

        Args:
            spread_seconds: reconnect delays are spread over this, so that not all clients come at once.
        """
        for stream in self._streams:
            if stream.session.state.go_away():
                # How fast a client comes back is no secret: any generator will do.
                stream.session.outbox.put(responses.go_away(random.uniform(0, spread_seconds)))  # noqa: S311

    async def go_away(self, *, drain_seconds: float, spread_seconds: float) -> None:
        """Asks all clients to leave, waits for their streams to end, then ends the rest; refuses new streams.

        Args:
            drain_seconds: how long the wait may take.
            spread_seconds: as of `ask_to_leave`.
        """
        self._is_closing = True
        self.ask_to_leave(spread_seconds=spread_seconds)
        try:
            async with asyncio.timeout(drain_seconds):
                while self._streams:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            for stream in self._streams:
                stream.session.state.end(errors.ShuttingDown())
