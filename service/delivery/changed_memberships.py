"""Users whose memberships changed, as far as this worker was told.

The hub, the fan-out and the handler of the bus note users; `SubscriptionManager.run` takes them and reads their
memberships. So the hub calls nothing above it: this object is built first and knows none of those that use it.
"""

import asyncio


class ChangedMemberships:
    """Waiting users, each at most once. Nothing is stored: a user who is lost here has another membership version."""

    def __init__(self) -> None:
        self._usernames: dict[str, None] = {}
        self._filled = asyncio.Event()

    def note(self, username: str) -> None:
        """Adds a user, also one without a stream here."""
        self._usernames[username] = None
        self._filled.set()

    async def take(self) -> list[str]:
        """Waits until there are users; returns all of them, in the order in which they were noted first."""
        await self._filled.wait()
        self._filled.clear()
        usernames, self._usernames = self._usernames, {}
        return list(usernames)
