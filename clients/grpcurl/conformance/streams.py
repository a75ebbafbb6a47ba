"""A stream: a grpcurl that reads frames from its standard input and prints those that come."""

import asyncio
import contextlib
import json
from typing import Any

from conformance.command_line import command_line, describe

_READ_BYTES = 65536
_STOP_SECONDS = 10.0


class Stream:
    """A grpcurl that runs."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._in: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._is_cancelled = False
        self._listening = asyncio.create_task(self._listen())

    @classmethod
    async def open(cls, command: dict[str, Any]) -> "Stream":
        """Starts it; a request that is given is all that it gets."""
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*command_line(command), stdin=pipe, stdout=pipe, stderr=pipe)
        stream = cls(process)
        if "request" in command:
            await stream.write(command["request"])
            stream.close()
        return stream

    async def write(self, frame: dict[str, Any]) -> bool:
        """Writes a frame; gives whether it runs."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(frame).encode() + b"\n")
            await self._process.stdin.drain()
        except OSError:
            return False
        return self._process.returncode is None

    async def read(self, timeout_seconds: float) -> dict[str, Any]:
        """Gives the next frame, the end, or nothing."""
        try:
            return await asyncio.wait_for(self._in.get(), timeout_seconds)
        except TimeoutError:
            return {"nothing": True}

    def close(self) -> None:
        """Half-closes: ends its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def cancel(self) -> None:
        """Cancels, as Ctrl-C does."""
        self._is_cancelled = True
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()

    async def end(self) -> None:
        """Waits for its end."""
        await asyncio.wait_for(self._process.wait(), _STOP_SECONDS)
        await self._listening

    async def _listen(self) -> None:
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        complaint = asyncio.create_task(self._process.stderr.read())
        decoder, text, data = json.JSONDecoder(), "", b""
        while piece := await self._process.stdout.read(_READ_BYTES):
            data += piece
            if not data.endswith(b"}\n"):  # a frame is printed over several lines and ends with this one
                continue
            text, data = text + data.decode(), b""
            while text := text.lstrip():
                try:
                    frame, end = decoder.raw_decode(text)
                except ValueError:
                    break  # the rest of it is on its way
                self._in.put_nowait({"frame": frame})
                text = text[end:]
        code, output = await self._process.wait(), (await complaint).decode()
        if self._is_cancelled:
            self._in.put_nowait({"end": {"code": "CANCELLED", "message": "", "log": "terminated"}})
        else:
            self._in.put_nowait({"end": {"code": "OK"} if code == 0 else describe(output)})
