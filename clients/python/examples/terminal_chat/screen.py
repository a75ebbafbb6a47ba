"""What a screen is to the chat: lines go to it, and events come from it."""

import asyncio
import enum
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol


class Signal(enum.Enum):
    """An event that is not a line."""

    EDITED = "edited"
    LEAVE = "leave"
    TOO_LONG = "too long"


@dataclass(frozen=True, slots=True)
class Submitted:
    """The user pressed Enter. A paste may have put several lines into `line`."""

    line: str


Event = Submitted | Signal


class Screen(Protocol):
    """Where lines go to and events come from."""

    events: asyncio.Queue[Event]

    def start(self) -> None:
        """Begins to read; needs a running event loop."""

    async def stop(self) -> None:
        """Shows what still waits to be shown, and leaves everything as it was found."""

    def print(self, lines: Iterable[str], *, is_dim: bool = False) -> None:
        """Shows lines. The lines must be safe (text.py)."""

    def set_prompt(self, prompt: str) -> None:
        """Sets what stands before the line that the user types. The prompt must be safe (text.py)."""
