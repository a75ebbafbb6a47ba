"""Hashes and checks passwords with Argon2id, in threads of its own.

A run takes about 20 ms of a core and 19 MiB, and releases the interpreter lock. So a few threads are enough, and the
queue before them is bounded. `attempts.py` limits how often somebody may try.
Source: RFC 9106; the parameters are the OWASP Password Storage Cheat Sheet's first choice for Argon2id.
"""

import asyncio
import secrets
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import argon2

from service.domain.errors import Overloaded

MEMORY_KIB = 19 * 1024
PASSES = 2
LANES = 1

_T = TypeVar("_T")


class Passwords:
    """Argon2id off the event loop.

    When `queue_size` runs wait and every thread is busy, a further run is refused at once. A run whose caller is
    cancelled leaves the queue, if it has not begun.

    Args:
        threads: how many runs are made at a time.
        queue_size: how many runs may wait.

    Attributes:
        run_count: Argon2 runs that were accepted, ever.
    """

    def __init__(self, *, threads: int = 2, queue_size: int = 200) -> None:
        self._hasher = argon2.PasswordHasher(
            time_cost=PASSES, memory_cost=MEMORY_KIB, parallelism=LANES, type=argon2.Type.ID
        )
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="passwords")
        self._places = threading.BoundedSemaphore(threads + queue_size)
        # The hash to compare with where an account does not exist or has no password.
        self._nobodys_hash = self._hasher.hash(secrets.token_hex(16))
        self.run_count = 0

    async def hash(self, password: str) -> str:
        """Returns the hash in PHC format, with a salt of its own. One Argon2 run.

        Raises:
            Overloaded: the queue is full.
        """
        return await self._run(lambda: self._hasher.hash(password))

    async def verify(self, password: str, password_hash: str | None) -> bool:
        """Returns whether the password matches the hash; False where the hash is None. One Argon2 run in any case.

        Raises:
            Overloaded: the queue is full.
        """
        matches = await self._run(lambda: self._matches(password, password_hash or self._nobodys_hash))
        return matches and password_hash is not None

    def needs_rehash(self, password_hash: str) -> bool:
        """Returns whether the hash has other parameters than new hashes."""
        return self._hasher.check_needs_rehash(password_hash)

    def close(self) -> None:
        """Cancels the runs that wait; the threads end after their current run. Does not wait."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _matches(self, password: str, password_hash: str) -> bool:
        try:
            return self._hasher.verify(password_hash, password)
        except argon2.exceptions.VerifyMismatchError:
            return False

    async def _run(self, work: Callable[[], _T]) -> _T:
        if not self._places.acquire(blocking=False):
            raise Overloaded("passwords")
        try:
            future = self._executor.submit(work)
        except RuntimeError:  # closed: the server is on its way out
            self._places.release()
            raise Overloaded("passwords") from None
        future.add_done_callback(self._leave)
        self.run_count += 1
        return await asyncio.wrap_future(future)

    def _leave(self, _: "Future[_T]") -> None:
        self._places.release()
