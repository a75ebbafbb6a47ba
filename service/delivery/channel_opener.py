"""Opens the channels of conversations that a session needs, and ends subscriptions that no session needs.

The seam between log and bus: for a conversation that nobody here listens to, subscribe, await the confirmation, then
read the last seq as the channel's position. The channel parks what comes over the bus meanwhile. (ADR 3)
"""

import asyncio
from collections.abc import Iterable

from service.delivery.bus_messages import USER, conversation_channel, subscribed_names, user_channel
from service.delivery.channel import Channel
from service.delivery.hub import Hub
from service.domain.clock import Clock
from storage.postgres.devices.cursors import Cursors
from storage.redis.bus import Bus


class ChannelOpener:
    """Channels that are being opened; sessions that need the same one wait for it together."""

    def __init__(self, hub: Hub, bus: Bus, cursors: Cursors, clock: Clock) -> None:
        self._hub = hub
        self._bus = bus
        self._cursors = cursors
        self._clock = clock
        self._opening: dict[str, asyncio.Task[None]] = {}

    async def open(self, conversation_ids: Iterable[str]) -> None:
        """Opens the channels that are not open, by one statement; waits for those that another session is opening.

        Raises:
            Unavailable: (of `storage.errors`) the database is.
        """
        new: list[str] = []
        openings: set[asyncio.Task[None]] = set()
        for conversation_id in conversation_ids:
            channel = self._hub.channels.get(conversation_id)
            if conversation_id in self._opening:
                openings.add(self._opening[conversation_id])
            elif channel is None:
                new.append(conversation_id)
            elif channel.idle_since is not None:
                channel.idle_since = self._clock.time()  # about to be used, so not to be dropped
        if new:
            # A task of its own: a session that goes away meanwhile must not fail others that wait for a channel.
            opening = asyncio.create_task(self._open_new(new), name="open channels")
            self._opening.update(dict.fromkeys(new, opening))
            openings.add(opening)
        await asyncio.gather(*map(asyncio.shield, openings))

    async def drop_idle(self) -> None:
        """Ends the subscriptions of channels and users that no session here needs any more."""
        gone = [conversation_channel(name) for name in self._hub.drop_idle()]
        gone += [user_channel(name) for name in subscribed_names(self._bus, USER) if name not in self._hub.users]
        if gone:
            await self._bus.unsubscribe(gone)

    async def _open_new(self, conversation_ids: list[str]) -> None:
        channels = {conversation_id: Channel(conversation_id) for conversation_id in conversation_ids}
        self._hub.channels.update(channels)
        try:
            await self._bus.subscribe(map(conversation_channel, conversation_ids))
            last_seqs = await self._cursors.last_seqs(conversation_ids)
            for conversation_id, channel in channels.items():
                self._hub.open(channel, last_seqs.get(conversation_id, 0))
                channel.idle_since = self._clock.time()
        except BaseException:
            for conversation_id in conversation_ids:
                del self._hub.channels[conversation_id]
            raise
        finally:
            for conversation_id in conversation_ids:
                del self._opening[conversation_id]
