"""What ends the streams of a worker, also those whose clients do not read; times are given, not waited for."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from service.delivery.session import Session
from service.delivery.stream_state import CANCELLED, LEAVING
from service.delivery.streams import OpenStream, Streams
from service.domain import errors
from service.domain.call import Principal
from storage.records import Revocation

NOW = datetime.now(UTC)


@dataclass
class Clock:
    """A clock that the test moves."""

    seconds: float

    def __call__(self) -> float:
        return self.seconds


class Stage:
    """Streams of ann, each served by a task that waits for a client that does not read."""

    def __init__(self) -> None:
        self.wall, self.monotonic = Clock(1_800_000_000.0), Clock(50.0)
        self.revoked: set[str] = set()
        self.streams = Streams(
            max_streams=3,
            max_streams_per_user=2,
            is_revoked=lambda principal: principal.login_id in self.revoked,
            clock=self.wall,
            monotonic=self.monotonic,
        )
        self.places = ExitStack()
        self.may_clean_up = asyncio.Event()
        self.may_clean_up.set()
        self.cleaned_up: list[asyncio.Task[None]] = []
        self.tasks: list[asyncio.Task[None]] = []

    def open(self, login_id: str = "login", life_seconds: float = 600.0, username: str = "ann") -> OpenStream:
        principal = Principal(username, login_id, "phone", 0.0, self.wall.seconds + life_seconds)
        stream = OpenStream(Session(1, username, "phone"), principal)
        task = asyncio.create_task(self._write_for_ever())
        self.tasks.append(task)
        stream.serve_by(task)
        self.places.enter_context(self.streams.register(stream))
        return stream

    async def _write_for_ever(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await self.may_clean_up.wait()
            self.cleaned_up.append(asyncio.current_task())

    async def look_after(self, seconds: float) -> list[bool]:
        """Moves both clocks and looks; gives which tasks have ended then."""
        self.wall.seconds += seconds
        self.monotonic.seconds += seconds
        self.streams.look()
        for _ in range(3):
            await asyncio.sleep(0)
        return [task.done() for task in self.tasks]


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    stage = Stage()
    yield stage
    stage.may_clean_up.set()
    for task in stage.tasks:
        task.cancel()
    await asyncio.gather(*stage.tasks, return_exceptions=True)
    stage.places.close()


async def test_revoked_stream_whose_client_does_not_read_is_cancelled_after_two_seconds(stage: Stage) -> None:
    stage.open("stolen")
    other = stage.open("other")
    stage.revoked.add("stolen")
    stage.streams.end_revoked(Revocation(1, "ann", "stolen", NOW, NOW))
    assert await stage.look_after(0.5) == [False, False]  # from here on two seconds count
    assert await stage.look_after(1.9) == [False, False]
    assert await stage.look_after(0.2) == [True, False]
    assert stage.tasks[0].cancelled()
    assert other.session.state.reason is None
    assert await stage.look_after(60.0) == [True, False]


async def test_stream_is_cancelled_once_so_that_what_cleans_up_is_not_disturbed(stage: Stage) -> None:
    stage.may_clean_up.clear()
    stream = stage.open()
    stream.session.state.end(errors.ShuttingDown())
    await asyncio.sleep(0)
    for _ in range(4):
        assert await stage.look_after(2.1) == [False]
    assert stream.session.state.course is CANCELLED
    assert stage.tasks[0].cancelling() == 1
    stage.may_clean_up.set()
    await asyncio.gather(*stage.tasks, return_exceptions=True)
    assert stage.cleaned_up == stage.tasks


async def test_stream_without_a_reason_to_end_is_left_alone(stage: Stage) -> None:
    stage.open(life_seconds=100.0)
    for _ in range(9):
        assert await stage.look_after(10.0) == [False]


async def test_expired_token_ends_a_stream_unless_a_fresh_one_came(stage: Stage) -> None:
    stale, fresh = stage.open(life_seconds=10.0), stage.open(life_seconds=10.0)
    fresh.authenticate(Principal("ann", "login", "phone", 0.0, stage.wall.seconds + 20.0))
    await stage.look_after(9.9)
    assert [stream.session.state.reason for stream in (stale, fresh)] == [None, None]
    await stage.look_after(0.1)
    assert isinstance(stale.session.state.reason, errors.TokenExpired)
    assert fresh.session.state.reason is None
    await stage.look_after(10.0)
    assert isinstance(fresh.session.state.reason, errors.TokenExpired)


async def test_who_leaves_is_asked_once_and_ends_when_the_time_is_over(stage: Stage) -> None:
    stream, ending = stage.open(), stage.open()
    ending.session.state.end(errors.TokenExpired())
    stage.streams.ask_to_leave(spread_seconds=0.0)
    first = stream.session.outbox.take_frame()
    assert first
    assert stream.session.state.course is LEAVING
    await stage.streams.go_away(drain_seconds=0.0, spread_seconds=0.0)
    assert stream.session.outbox.take_frame() == b""
    assert ending.session.outbox.take_frame() == b""
    assert isinstance(stream.session.state.reason, errors.ShuttingDown)
    assert isinstance(ending.session.state.reason, errors.TokenExpired)
    with pytest.raises(errors.ShuttingDown):
        stage.open()


async def test_streams_of_a_worker_and_of_a_user_are_limited(stage: Stage) -> None:
    for _ in range(2):
        stage.open()
    with pytest.raises(errors.RateLimited):
        stage.open()
    stage.open(username="bob")
    with pytest.raises(errors.Overloaded):
        stage.open(username="cid")
    stage.streams.limit(max_streams=4, max_streams_per_user=2)
    stage.open(username="cid")
    assert len(stage.streams) == 4
    stage.places.close()
    assert len(stage.streams) == 0
