import asyncio
import threading
from collections.abc import Iterator

import argon2
import pytest

from service.auth.passwords import Passwords
from service.domain.errors import Overloaded
from tests.support.waiting import wait_for


@pytest.fixture
def passwords() -> Iterator[Passwords]:
    made = Passwords(threads=1, queue_size=2)
    yield made
    made.close()


async def test_hash_is_argon2id_with_the_stated_cost(passwords: Passwords) -> None:
    first, second = await passwords.hash("correct horse"), await passwords.hash("correct horse")
    assert first.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert first != second


async def test_verify_runs_argon2_once_whatever_the_answer(passwords: Passwords) -> None:
    password_hash = await passwords.hash("correct horse")
    for password, compared, answer in [
        ("correct horse", password_hash, True),
        ("wrong horse", password_hash, False),
        ("correct horse", None, False),
        ("", None, False),
    ]:
        before = passwords.run_count
        assert await passwords.verify(password, compared) is answer
        assert passwords.run_count == before + 1


async def test_unknown_user_costs_the_same_parameters(passwords: Passwords) -> None:
    assert passwords._nobodys_hash.startswith("$argon2id$v=19$m=19456,t=2,p=1$")


async def test_hash_of_other_parameters_wants_a_new_one(passwords: Passwords) -> None:
    assert not passwords.needs_rehash(await passwords.hash("correct horse"))
    assert passwords.needs_rehash(argon2.PasswordHasher(time_cost=1, memory_cost=8192, parallelism=1).hash("x"))


async def test_full_queue_refuses_at_once_and_recovers(passwords: Passwords) -> None:
    gate = threading.Event()
    try:
        waiting = [asyncio.ensure_future(passwords._run(gate.wait)) for _ in range(3)]
        await wait_for(lambda: passwords.run_count == 3)
        with pytest.raises(Overloaded):
            await passwords.hash("correct horse")
        assert passwords.run_count == 3
    finally:
        gate.set()
    await asyncio.gather(*waiting)
    await wait_for(lambda: passwords._places._value == 3)
    assert await passwords.hash("correct horse")


async def test_caller_who_gives_up_frees_the_place(passwords: Passwords) -> None:
    gate = threading.Event()
    try:
        waiting = [asyncio.ensure_future(passwords._run(gate.wait)) for _ in range(3)]
        await wait_for(lambda: passwords.run_count == 3)
        waiting[2].cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting[2]
        accepted = asyncio.ensure_future(passwords.hash("correct horse"))
        await wait_for(lambda: passwords.run_count == 4)
    finally:
        gate.set()
    assert await accepted
    await asyncio.gather(*waiting[:2])


async def test_closed_refuses() -> None:
    passwords = Passwords(threads=1, queue_size=1)
    passwords.close()
    with pytest.raises(Overloaded):
        await passwords.hash("correct horse")
    assert passwords._places._value == 2
