"""A bell: rings are kept until it is cleared, and one who stops waiting leaves nothing behind."""

import asyncio

import pytest

from service.rpc.chat.wake_event import WakeEvent


async def test_ring_wakes_the_one_who_waits_and_is_kept_until_it_is_cleared():
    bell = WakeEvent()
    waiting = asyncio.create_task(bell.wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    bell.ring()
    bell.ring()
    await waiting
    await bell.wait()
    bell.clear()
    waiting = asyncio.create_task(bell.wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    bell.ring()
    bell.clear()
    await waiting


async def test_ring_after_the_one_who_waited_was_cancelled_is_for_the_next():
    bell = WakeEvent()
    waiting = asyncio.create_task(bell.wait())
    await asyncio.sleep(0)
    waiting.cancel()
    bell.ring()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await bell.wait()
