"""A runner as a process: one command a line, one answer a line. Which programs there are is in `languages.py`."""

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

_ANSWER_SECONDS = 60.0
_START_SECONDS = 60.0
_STOP_SECONDS = 10.0
_LINE_BYTES = 64 * 1024 * 1024  # a frame with 1,000 messages is one line
_KEPT_LINES = 40


class RunnerFailed(Exception):
    """A runner ended, hung or answered what is no answer; the text has the end of its standard error."""


class Runner:
    """A runner that is ready.

    Attributes:
        about: what it said first: runner, version, runtime.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._complaints: deque[str] = deque(maxlen=_KEPT_LINES)
        self._listening = asyncio.create_task(self._listen())
        self.about: dict[str, str] = {}

    async def greet(self) -> None:
        """Reads its first line.

        Raises:
            RunnerFailed: it said none.
        """
        self.about = await self._read(_START_SECONDS)

    async def ask(self, command: Mapping[str, Any], *, limit_seconds: float = _ANSWER_SECONDS) -> dict[str, Any]:
        """Returns the answer to a command.

        Raises:
            RunnerFailed: there is none.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(command, ensure_ascii=False).encode() + b"\n")
            await self._process.stdin.drain()
        except OSError:
            raise RunnerFailed(f"it ended.{self._tail()}") from None
        answer = await self._read(limit_seconds)
        if "failed" in answer:
            raise RunnerFailed(f"it can't {command['do']}: {answer['failed']}")
        return answer

    async def end(self) -> None:
        """Ends its input, and waits until it has ended, too.

        Raises:
            RunnerFailed: it did not, or ended badly, or had more to say than was asked.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                rest = await self._process.stdout.read()
                code = await self._process.wait()
        except TimeoutError:
            raise RunnerFailed(f"it did not end when its input did.{self._tail()}") from None
        await self._listening
        if code:
            raise RunnerFailed(f"it ended with {code}.{self._tail()}")
        if rest:
            raise RunnerFailed(f"it wrote {rest[:200]!r}, and nobody had asked")

    async def kill(self) -> None:
        """Ends it at once; without effect on one that has ended."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        await self._listening

    async def _read(self, limit_seconds: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(limit_seconds):  # wait_for can lose a cancellation (python/cpython#86296)
                line = await self._process.stdout.readline()
        except TimeoutError:
            raise RunnerFailed(f"it gave no answer within {limit_seconds:.0f} s.{self._tail()}") from None
        except ValueError:
            raise RunnerFailed(f"it wrote a line of more than {_LINE_BYTES} bytes") from None
        if not line:
            await asyncio.wait([self._listening], timeout=5)  # what it wrote last may still be on its way
            raise RunnerFailed(f"it ended.{self._tail()}")
        try:
            answer = json.loads(line)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise RunnerFailed(f"it wrote {line[:200]!r} to standard output")
        return answer

    async def _listen(self) -> None:
        assert self._process.stderr is not None
        with contextlib.suppress(ValueError):  # a line that is longer than a stream reader takes
            async for line in self._process.stderr:
                self._complaints.append(line.decode(errors="replace").rstrip())

    def _tail(self) -> str:
        return "".join(f"\n    {line}" for line in self._complaints)


@contextlib.asynccontextmanager
async def started(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> AsyncIterator[Runner]:
    """Starts a runner, waits for its first line, and lets it end in the end.

    Raises:
        RunnerFailed: it did not start, or did not end as it should.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=folder,
            env=dict(environment),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=_LINE_BYTES,
        )
    except OSError as error:
        raise RunnerFailed(f"can't start {command[0]}: {error.strerror}") from None
    runner = Runner(process)
    try:
        await runner.greet()
        yield runner
        await runner.end()
    finally:
        await runner.kill()
