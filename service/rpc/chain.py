"""A chain of steps: an ordered list of what happens around a call or a frame, made into one function once at start.

This module knows no step. The steps of calls are in `steps.py` and their lists in `pipeline.py`; those of frames are in
`chat/frame_steps.py`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

Link = Callable[..., Any]
"""A step that is part of a chain: it takes what the step before it passes on, and calls the rest with what it adds."""


class OutOfPlace(Exception):
    """A list of steps has a step before one that it needs, or has a step twice."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step.

    Attributes:
        name: what other steps name as needed.
        needs: the names of steps that must stand earlier in the list.
        link: makes the function of the step from the rest of the chain. A step that waits for nothing is a plain
            function that returns what the rest returns: the step makes no coroutine.
    """

    name: str
    needs: tuple[str, ...]
    link: Callable[[Link], Link]


def compose(steps: Iterable[Step], *, done: Iterable[str] = ()) -> Link:
    """Makes one function of a list: each step runs in the order of the list, and the last one ends the chain.

    Args:
        done: the names of steps that have run before this chain: those of the call, for the chain of its frames.

    Raises:
        OutOfPlace: the order is not one that the steps allow.
    """
    ordered = list(steps)
    _check_order(ordered, set(done))
    run: Link = _end
    for step in reversed(ordered):
        run = step.link(run)
    return run


def _check_order(steps: list[Step], done: set[str]) -> None:
    for step in steps:
        if step.name in done:
            raise OutOfPlace(f"the step `{step.name}` is there twice")
        for needed in step.needs:
            if needed not in done:
                raise OutOfPlace(f"the step `{step.name}` must come after `{needed}`")
        done.add(step.name)


def _end(_: object) -> None:
    raise AssertionError("the last step of a list ends the chain and never calls the rest")
