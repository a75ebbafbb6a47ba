"""What came on one stream of a runner: elements by field, in order, until a step takes them."""

import asyncio
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from conformance.messages import to_frame
from conformance.runner import Runner, RunnerFailed

# What may come at any time, and is not missed when nobody takes it.
_UNASKED = frozenset({"caught_up", "heartbeats", "presence", "typing", "receipts", "go_aways", "welcomes"})


class StreamSilent(Exception):
    """What a step waits for did not come; the text says what came instead."""


@dataclass(slots=True)
class Stream:
    """A stream.

    Attributes:
        name: the runner's name of it.
        waiting: field -> the elements that no step took yet, each with the number of its frame.
        frame_count: frames that came.
        end: the ERROR by which it ended, with the code OK for none; None while it is open.
    """

    name: str
    waiting: dict[str, deque[tuple[int, Any]]] = field(default_factory=dict)
    frame_count: int = 0
    end: dict[str, Any] | None = None

    async def take(self, runner: Runner, counts: Mapping[str, int], limit_seconds: float) -> dict[str, list[Any]]:
        """Returns the next elements of some fields, and in `frames` the numbers of the frames in which they came.

        Raises:
            StreamSilent: they did not come in time, or the stream ended.
        """
        until = asyncio.get_running_loop().time() + limit_seconds
        while any(len(self.waiting.get(name, ())) < count for name, count in counts.items()):
            left = until - asyncio.get_running_loop().time()
            if self.end is not None or left <= 0 or not await self.read(runner, left):
                raise StreamSilent(f"only {self._seen(counts)} came; {self.state}")
        taken: dict[str, list[Any]] = {"frames": []}
        for name, count in counts.items():
            picked = [self.waiting[name].popleft() for _ in range(count)] if count else []
            taken[name] = [element for _, element in picked]
            taken["frames"] += [number for number, _ in picked]
        return taken

    async def read(self, runner: Runner, limit_seconds: float) -> bool:
        """Reads one frame, or the end. Gives whether anything came.

        Raises:
            RunnerFailed: the answer is none of these.
        """
        command = {"do": "read", "stream": self.name, "timeout_ms": max(1, int(limit_seconds * 1000))}
        answer = await runner.ask(command, limit_seconds=limit_seconds + 30)
        match answer:
            case {"end": dict() as end}:
                self.end = end
            case {"frame": dict() as frame}:
                self._keep(to_frame(frame))
            case {"nothing": True}:
                return False
            case _:
                raise RunnerFailed(f"it answered read by {str(answer)[:200]}")
        return True

    def leftovers(self) -> Iterator[str]:
        """Returns a line for each element that no step expected."""
        for name, elements in self.waiting.items():
            if name not in _UNASKED:
                for _, element in elements:
                    yield f"{name}: {str(element)[:300]} came, and nothing was said of it"

    @property
    def state(self) -> str:
        """Whether it is open, and how it ended."""
        return "the stream is open" if self.end is None else f"the stream ended: {self.end}"

    def _keep(self, frame: dict[str, Any]) -> None:
        self.frame_count += 1
        for name, elements in frame.items():
            self.waiting.setdefault(name, deque()).extend((self.frame_count, element) for element in elements)

    def _seen(self, counts: Mapping[str, int]) -> str:
        seen = {name: [element for _, element in self.waiting.get(name, ())] for name in counts}
        others = {name: len(found) for name, found in self.waiting.items() if name not in counts and found}
        return f"{str(seen)[:600]} (beside: {others or 'nothing'})"
