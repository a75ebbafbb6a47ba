"""Logins: the exchange of refresh tokens, its repeats, and the end of a login."""

import asyncio
from collections.abc import Callable

import pytest

from service.auth.logins import Grant
from service.auth.refresh_tokens import RefreshTokens, new_login_id
from service.domain.errors import (
    InvalidRequest,
    TokenExpired,
    TokenInvalid,
)
from service.domain.times import to_time
from tests.auth.account_worker import MONTH_SECONDS, Worker
from tests.auth.rings import NOW


async def test_refresh_gives_the_next_pair_of_the_same_login(worker: Worker) -> None:
    first = await worker.register()
    worker.clock.now += 100
    second = await worker.refresh(first)
    assert second.refresh_token != first.refresh_token
    assert (second.user.username, second.device_id) == ("alice", "phone")
    assert second.access_expire_time == to_time(NOW + 1000)
    assert second.refresh_expire_time == to_time(NOW + 100 + MONTH_SECONDS)
    principals = [worker.verifier.verify(grant.access_token) for grant in (first, second)]
    assert principals[0].login_id == principals[1].login_id
    assert worker.is_good(await worker.refresh(second))


async def test_repeat_within_a_minute_gives_the_same_successor(make_worker: Callable[..., Worker]) -> None:
    here, there = make_worker(), make_worker()
    first = await here.register()
    second = await here.refresh(first, "r1")
    here.clock.now += 60
    again = await there.refresh(first, "r1")
    assert (again.refresh_token, again.refresh_expire_time) == (second.refresh_token, second.refresh_expire_time)
    assert here.is_good(await here.refresh(again, "r2"))


@pytest.mark.parametrize(
    ("first_id", "second_id", "passed_seconds"), [("r1", "r1", 60.1), ("r1", "r2", 0), ("", "", 0), ("r1", "", 0)]
)
async def test_other_second_use_ends_the_login(
    worker: Worker, first_id: str, second_id: str, passed_seconds: float
) -> None:
    first = await worker.register()
    second = await worker.refresh(first, first_id)
    worker.clock.now += passed_seconds
    with pytest.raises(TokenInvalid, match="used before"):
        await worker.refresh(first, second_id)
    assert [one.login_id for one in worker.announced] == [first.refresh_token.partition(".")[0]]
    assert not worker.is_good(second)
    with pytest.raises(TokenInvalid, match="ended"):
        await worker.refresh(second)
    assert len(worker.announced) == 1


async def test_repeat_after_the_successor_was_used_ends_the_login(worker: Worker) -> None:
    first = await worker.register()
    second = await worker.refresh(first, "r1")
    await worker.refresh(second, "r2")
    with pytest.raises(TokenInvalid, match="used before"):
        await worker.refresh(first, "r1")


async def test_racing_exchanges_of_one_request_get_one_successor(make_worker: Callable[..., Worker]) -> None:
    workers = [make_worker() for _ in range(4)]
    first = await workers[0].register()
    grants = await asyncio.gather(*(one.refresh(first, "r1") for one in workers))
    assert len({grant.refresh_token for grant in grants}) == 1
    assert not any(one.announced for one in workers)


async def test_racing_exchanges_of_different_requests_give_at_most_one_successor(
    make_worker: Callable[..., Worker],
) -> None:
    workers = [make_worker() for _ in range(4)]
    first = await workers[0].register()
    found = await asyncio.gather(
        *(one.refresh(first, f"r{number}") for number, one in enumerate(workers)), return_exceptions=True
    )
    assert sum(isinstance(one, Grant) for one in found) == 1
    assert sum(isinstance(one, TokenInvalid) for one in found) == 3
    assert sum(len(one.announced) for one in workers) == 1


async def test_expired_refresh_token_says_so(worker: Worker) -> None:
    first = await worker.register()
    worker.clock.now += MONTH_SECONDS
    with pytest.raises(TokenExpired):
        await worker.refresh(first)


async def test_invented_refresh_token_ends_nothing(worker: Worker) -> None:
    first = await worker.register()
    login_id = first.refresh_token.partition(".")[0]
    for token in (f"{login_id}.{'A' * 64}", first.access_token, "", RefreshTokens(b"j" * 32).first(login_id)):
        with pytest.raises(TokenInvalid):
            await worker.logins.refresh(refresh_token=token, request_id="r1")
        with pytest.raises(TokenInvalid):
            await worker.logins.logout(refresh_token=token)
    with pytest.raises(TokenInvalid):
        await worker.logins.refresh(refresh_token=RefreshTokens(b"k" * 32).first(new_login_id()), request_id="r1")
    assert worker.announced == []
    assert await worker.refresh(first)


async def test_long_request_id_is_refused(worker: Worker) -> None:
    first = await worker.register()
    with pytest.raises(InvalidRequest):
        await worker.refresh(first, "r" * 65)
    assert await worker.refresh(first)


async def test_logout_ends_the_login_by_any_of_its_tokens_and_is_idempotent(worker: Worker) -> None:
    first = await worker.register()
    other = await worker.login()
    third = await worker.refresh(await worker.refresh(first))
    for _ in range(2):
        await worker.logins.logout(refresh_token=first.refresh_token)
    assert len(worker.announced) == 1
    assert not worker.is_good(third)
    assert worker.is_good(other)
    with pytest.raises(TokenInvalid):
        await worker.refresh(third)
