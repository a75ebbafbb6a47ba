"""Has what the bus lost looked for as soon as the bus is back."""

import asyncio


class Reconnections:
    """Events that are set whenever the bus connects: what was published before that is lost."""

    def __init__(self) -> None:
        self._events: list[asyncio.Event] = []

    def event(self) -> asyncio.Event:
        """Makes an event for one waiter, who clears it."""
        event = asyncio.Event()
        self._events.append(event)
        return event

    def note(self) -> None:
        """Sets all events."""
        for event in self._events:
            event.set()
