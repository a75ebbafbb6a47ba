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
from service.domain import errors
from service.domain.call import Principal
from storage.records import Revocation

_TICK_SECONDS = 1.0  # of which tokens are made, too
# How long a stream that is to end may take for its last write.
_END_SECONDS = 2.0


@dataclass(slots=True, eq=False)
class OpenStream:
    """A stream and whom its latest token speaks for.

    Attributes:
        task: what serves it; cancelled when the end that was asked for does not come, because its client does not read.
    """

    session: Session
    principal: Principal
    task: "asyncio.Task[None] | None" = None
    end_deadline: float | None = None


class Streams:
    """All streams of a worker.

    Args:
        is_revoked: whether a principal's login has ended.
        clock: Unix seconds.
    """

    def __init__(
        self,
        *,
        max_streams: int,
        max_streams_per_user: int,
        is_revoked: Callable[[Principal], bool],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._max_streams = max_streams
        self._max_streams_per_user = max_streams_per_user
        self._is_revoked = is_revoked
        self._clock = clock
        self._streams: set[OpenStream] = set()
        self._per_user: dict[str, int] = {}
        self._is_closing = False
        self.opened_count = 0
        self._changed = asyncio.Event()

    def limit(self, *, max_streams: int, max_streams_per_user: int) -> None:
        """Sets how many more may come from now on; those that are open stay."""
        self._max_streams = max_streams
        self._max_streams_per_user = max_streams_per_user

    @contextmanager
    def register(self, stream: OpenStream) -> Iterator[None]:
        """Holds a place for a stream while it is open.

        Raises:
            ShuttingDown: the server is on its way out.
            Overloaded: the worker has as many as it may have.
            RateLimited: the user has.
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
                stream.session.end(errors.TokenInvalid("The login has ended."))

    async def run(self) -> None:
        """Ends streams whose token has expired, until it is cancelled."""
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            now = self._clock()
            for stream in self._streams:
                if stream.principal.expire_time <= now:
                    stream.session.end(errors.TokenExpired())
                if stream.session.ending is not None:
                    self._hasten(stream)

    def _hasten(self, stream: OpenStream) -> None:
        """Cancels a stream that was asked to end and can't: a write that waits for its client holds it."""
        now = asyncio.get_running_loop().time()
        if stream.end_deadline is None:
            stream.end_deadline = now + _END_SECONDS
        elif stream.end_deadline < now and stream.task is not None:
            stream.task.cancel()
            stream.task = None  # once is enough; what cleans up must not be disturbed

    def ask_to_leave(self, *, spread_seconds: float) -> None:
        """Tells the streams that are open to leave; those that come later are let in.

        Args:
            spread_seconds: reconnect delays are spread over this, so that not all come at once.
        """
        for stream in self._streams:
            if not stream.session.is_going_away:
                # How fast a client comes back is no secret: any generator will do.
                stream.session.outbox.put(responses.go_away(random.uniform(0, spread_seconds)))  # noqa: S311
                stream.session.is_going_away = True
                stream.session.wake()

    async def go_away(self, *, drain_seconds: float, spread_seconds: float) -> None:
        """Tells all streams to leave, lets what was begun end, then ends them; no more are let in.

        Args:
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
                stream.session.end(errors.ShuttingDown())
