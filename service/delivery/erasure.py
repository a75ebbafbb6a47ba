"""Ends what deleted accounts left behind, and has workers forget contents that were changed in the log.

`Eraser` works in small batches with pauses; a worker's job and the command `parley user delete` both use it, also at
the same time. `postgres/accounts/erasure.py` says what a batch is. `ChangedContents` is this worker's memory: the
tails of channels and the history of replays hold ready bytes, which go when the log says something else.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog

from service.delivery.history import History
from service.delivery.hub import Hub
from storage.errors import LockTimeout
from storage.postgres.accounts.erasure import Batch, Erasures, Progress
from storage.postgres.log.content_changes import ContentChanges

_log = structlog.get_logger(__name__)

# Between two batches others have the disk; while another one works on the account, this one looks less often.
_PAUSE_SECONDS = 0.05
_BUSY_SECONDS = 0.5
_ACCOUNTS_A_RUN = 1000


class Eraser:
    """Goes on with deleted accounts until nothing of them is left.

    Args:
        leave_all: takes a user out of all groups; safe to call again.
    """

    def __init__(self, erasures: Erasures, leave_all: Callable[[str], Awaitable[object]]) -> None:
        self._erasures = erasures
        self._leave_all = leave_all

    async def run(self, *, budget_seconds: float) -> None:
        """Goes on with any accounts, one after the other; begins no batch after the budget.

        Raises:
            Unavailable: (of `storage.errors`) the database is.
        """
        end = time.monotonic() + budget_seconds
        for username in await self._erasures.list_usernames(limit=_ACCOUNTS_A_RUN):
            try:
                await self._leave_all(username)
                while time.monotonic() < end:
                    progress = (await self._erasures.run_batch(username)).progress
                    if progress is not Progress.MORE:
                        break
                    await asyncio.sleep(_PAUSE_SECONDS)
            except LockTimeout:  # the next run comes back to it
                continue
            if time.monotonic() >= end:
                return
            if progress is Progress.DONE:
                _log.info("nothing is left of a deleted account", user=username)

    async def finish(self, username: str, on_batch: Callable[[int], object]) -> None:
        """Goes on with one account until nothing is left, whoever does the batches.

        Args:
            on_batch: called after each batch that was done here, with the count of messages that lost their content.

        Raises:
            Unavailable: (of `storage.errors`) the database is; what was done stays done.
        """
        await self._leave_all(username)
        while True:
            try:
                batch = await self._erasures.run_batch(username)
            except LockTimeout:
                batch = Batch(Progress.BUSY)
            if batch.progress in (Progress.MORE, Progress.DONE):
                on_batch(batch.message_count)
            if batch.progress in (Progress.DONE, Progress.NOTHING):
                return
            await asyncio.sleep(_BUSY_SECONDS if batch.progress is Progress.BUSY else _PAUSE_SECONDS)


class ChangedContents:
    """Drops the ready bytes that this worker keeps of entries which were changed in the log."""

    def __init__(self, changes: ContentChanges, hub: Hub, history: History) -> None:
        self._changes = changes
        self._hub = hub
        self._history = history

    async def look(self) -> None:
        """Looks for changes, those that were seen lately included.

        Raises:
            Unavailable: (of `storage.errors`) the database is; the next look makes up for it.
        """
        changed = await self._changes.read()
        if changed is None:
            changed = dict.fromkeys([*self._hub.channels, *self._history.list_conversations()])
        for conversation_id, seqs in changed.items():
            self._hub.forget(conversation_id, seqs)
            self._history.forget(conversation_id, seqs)
