"""How a process ended. Loads nothing of ours: the supervisor has it early."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class End:
    """How a process ended.

    Attributes:
        text: in words.
        is_planned: it ended by itself to be started anew, and nothing is wrong.
    """

    text: str
    is_planned: bool = False
