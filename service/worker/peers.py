"""Who may be heard over the bus: the workers of this database, and no copy of it.

A copy that was restored elsewhere has the deployment id, and as long as nobody ran `parley restored` the epoch. When
it is made from files, nothing in it tells it from its original. But workers note themselves in their database before
they serve, and beat there; a worker of a copy does neither here. So whoever is heard and not known is looked for there,
and then taken or left out.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence

import structlog

from service.delivery.bus_messages import WorkerAnnounced
from storage.records import Deployment
from storage.redis.bus import digest

_log = structlog.get_logger(__name__)

# Of the workers of other databases, this many are remembered, so as not to be looked for at each message of theirs.
_MAX_STRANGERS = 10_000


class Peers:
    """The workers of this database.

    Args:
        worker_id: this worker.
        list_workers: lists the workers that live by what is noted in the database.

    Attributes:
        unknown: set when somebody was heard who is to be looked for now.
    """

    def __init__(
        self, deployment: Deployment, *, worker_id: str, list_workers: Callable[[], Awaitable[Sequence[str]]]
    ) -> None:
        self._deployment = deployment
        self._worker_id = worker_id
        self._list_workers = list_workers
        self._known = {digest(worker_id)}
        self._strangers: set[bytes] = set()
        self._announced: dict[str, WorkerAnnounced] = {}  # by worker id, what those said who are not known yet
        self._told: set[str] = set()  # databases that were told of
        self.unknown = asyncio.Event()
        self.unknown.set()

    def is_peer(self, sender: bytes) -> bool:
        """Whether a message of this sender may be taken; who is not known is looked for soon."""
        if sender in self._known:
            return True
        if sender not in self._strangers and len(self._strangers) < _MAX_STRANGERS:
            self._strangers.add(sender)
            self.unknown.set()
        return False

    def announcement(self) -> WorkerAnnounced:
        """What this worker publishes of itself to all workers with the deployment id."""
        return WorkerAnnounced(self._worker_id, self._deployment.namespace, socket.gethostname())

    def hear(self, message: WorkerAnnounced) -> None:
        """Takes the announcement of a worker of this database or of a copy."""
        if not self.is_peer(digest(message.worker_id)) and len(self._announced) < _MAX_STRANGERS:
            self._announced[message.worker_id] = message

    async def refresh(self) -> bool:
        """Reads who is noted here, and warns of those who are not; says whether this worker is noted.

        Raises:
            Unavailable: the database is.
        """
        announced, self._announced = self._announced, {}  # they were noted in their database before they spoke
        workers = await self._list_workers()
        self._known = {digest(name) for name in (self._worker_id, *workers)}
        self._strangers -= self._known
        for name in announced.keys() - set(workers):
            self._warn(announced[name])
        return self._worker_id in workers

    def _warn(self, stranger: WorkerAnnounced) -> None:
        """Warns once of each database."""
        if stranger.database in self._told or len(self._told) >= _MAX_STRANGERS:
            return
        self._told.add(stranger.database)
        is_same = stranger.database == self._deployment.namespace
        _log.warning(
            "a copy of this deployment, on another database, uses the same Redis; nothing that it says is taken."
            + (" Its presence and this server's are mixed until `parley restored` runs there." if is_same else "")
            + " Give the copy a Redis of its own, and run `parley restored` there (docs/operations/backup.md)",
            host=stranger.host,
            worker=stranger.worker_id,
            database=stranger.database,
            this_database=self._deployment.namespace,
        )
