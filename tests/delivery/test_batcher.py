"""The loop that writes in batches, on a clock of its own."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from service.delivery.batcher import Batcher
from storage.errors import Unavailable
from tests.support.virtual_time import run_virtually


class Notebook:
    """What waits and what was written; a flush takes a second, and the first ones fail."""

    def __init__(self, failures: int = 0) -> None:
        self.waiting: list[str] = []
        self.written: list[list[str]] = []
        self.failures = failures
        self.tries: list[float] = []

    async def flush(self) -> None:
        self.tries.append(asyncio.get_running_loop().time())
        batch, self.waiting = self.waiting, []
        await asyncio.sleep(1)
        if self.failures:
            self.failures -= 1
            self.waiting = batch + self.waiting
            raise Unavailable("away")
        self.written.append(batch)


@contextlib.asynccontextmanager
async def running(batcher: Batcher) -> AsyncIterator[None]:
    task = asyncio.create_task(batcher.run())
    try:
        yield
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


def virtually(work: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    """Runs a test on virtual time."""

    def test() -> None:
        async def begin() -> None:
            await work()

        run_virtually(begin())

    test.__name__ = work.__name__  # type: ignore[attr-defined]
    return test


@virtually
async def test_what_comes_in_the_time_to_gather_is_one_batch() -> None:
    book = Notebook()
    batcher = Batcher(book.flush, gather_seconds=0.5)
    async with running(batcher):
        for name in ("a", "b"):
            book.waiting.append(name)
            batcher.notify()
            await asyncio.sleep(0.2)
        await asyncio.sleep(5)
    assert (book.written, book.tries) == ([["a", "b"]], [0.5])


@virtually
async def test_what_comes_while_a_batch_is_written_is_the_next() -> None:
    book = Notebook()
    batcher = Batcher(book.flush)
    async with running(batcher):
        book.waiting.append("a")
        batcher.notify()
        await asyncio.sleep(0.3)
        for name in ("b", "c"):
            book.waiting.append(name)
            batcher.notify()
        await asyncio.sleep(5)
    assert (book.written, book.tries) == ([["a"], ["b", "c"]], [0.0, 1.0])


@virtually
async def test_nothing_is_flushed_while_nothing_was_noted() -> None:
    book = Notebook()
    async with running(Batcher(book.flush)):
        await asyncio.sleep(1000)
    assert book.tries == []


@virtually
async def test_failed_batch_is_tried_again_with_what_came_since_and_said_once() -> None:
    book, said = Notebook(failures=3), []
    batcher = Batcher(book.flush, retry_seconds=2.0, on_unavailable=lambda error: said.append(str(error)))
    async with running(batcher):
        book.waiting.append("a")
        batcher.notify()
        await asyncio.sleep(1.5)
        book.waiting.append("b")
        await asyncio.sleep(20)
        assert (book.written, book.tries, said) == ([["a", "b"]], [0.0, 3.0, 6.0, 9.0], ["away"])
        book.failures = 1
        batcher.notify()
        await asyncio.sleep(20)
    assert said == ["away", "away"]


@virtually
async def test_other_error_ends_the_loop() -> None:
    async def flush() -> None:
        raise ValueError("a fault of the program")

    batcher = Batcher(flush)
    batcher.notify()
    with pytest.raises(ValueError, match="a fault of the program"):
        await batcher.run()


@virtually
async def test_event_of_the_caller_is_what_wakes_it() -> None:
    book, filled = Notebook(), asyncio.Event()
    async with running(Batcher(book.flush, filled=filled)):
        book.waiting.append("a")
        filled.set()
        await asyncio.sleep(5)
    assert book.written == [["a"]]
