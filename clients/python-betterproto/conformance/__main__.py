"""Reads commands and writes answers, a line each."""

import asyncio
import json
import platform
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import betterproto
from grpclib.client import Channel
from parley_betterproto.parley import v1

from conformance.errors import cancelled, describe
from conformance.forms import to_json, to_message
from conformance.measure import measure
from conformance.sessions import Sessions
from conformance.streams import Stream

_DEADLINE_SECONDS = 30.0
# Field 1000, length-delimited, "newer": a payload of a contract that is newer than ours.
_NEWER_PAYLOAD = b"\xc2\x3e\x05newer"


class Runner:
    """The channels and streams that are open."""

    def __init__(self) -> None:
        self._channels: dict[str, Channel] = {}
        self._streams: dict[str, Stream] = {}
        self._sessions = Sessions()

    async def answer(self, command: dict[str, Any]) -> dict[str, Any]:
        """Does one command."""
        if command["do"].startswith("session_"):
            return await self._sessions.answer(command)
        act = getattr(self, f"_{command['do']}", None)
        return await act(command) if act is not None else {"failed": f"there is no {command['do']}"}

    async def _call(self, command: dict[str, Any]) -> dict[str, Any]:
        method = getattr(self._stub(command), betterproto.casing.snake_case(command["method"]))
        deadline = command.get("deadline_ms", _DEADLINE_SECONDS * 1000) / 1000
        call = asyncio.create_task(method(_request(command), timeout=deadline, metadata=_metadata(command)))
        if "cancel_after_ms" in command:
            await asyncio.wait([call], timeout=command["cancel_after_ms"] / 1000)
            call.cancel()
        try:
            return {"response": to_json(await call)}
        except asyncio.CancelledError:
            return {"error": cancelled()}
        except Exception as error:  # noqa: BLE001 # described, and raised again there when it is none of the call
            return {"error": describe(error)}

    async def _open(self, command: dict[str, Any]) -> dict[str, Any]:
        stub, about = self._stub(command), _metadata(command)
        if command["method"] == "Subscribe":
            request = _request(command)
            stream = Stream(lambda _frames: stub.subscribe(request, metadata=about))
        else:
            stream = Stream(lambda frames: stub.chat(frames, metadata=about))
        self._streams[command["stream"]] = stream
        return {"opened": True}

    async def _write(self, command: dict[str, Any]) -> dict[str, Any]:
        return {"written": self._streams[command["stream"]].write(to_message(v1.ChatRequest, command["frame"]))}

    async def _write_newer(self, command: dict[str, Any]) -> dict[str, Any]:
        known = v1.ChatRequest(correlation_id=command["correlation_id"])
        frame = v1.ChatRequest().parse(bytes(known) + _NEWER_PAYLOAD)  # kept as an unknown field
        return {"written": self._streams[command["stream"]].write(frame)}

    async def _read(self, command: dict[str, Any]) -> dict[str, Any]:
        return await self._streams[command["stream"]].read(command["timeout_ms"] / 1000)

    async def _close(self, command: dict[str, Any]) -> dict[str, Any]:
        self._streams[command["stream"]].close()
        return {"closed": True}

    async def _cancel(self, command: dict[str, Any]) -> dict[str, Any]:
        self._streams[command["stream"]].cancel()
        return {"cancelled": True}

    async def _page(self, command: dict[str, Any]) -> dict[str, Any]:
        request = to_message(v1.PullRequest, command["request"])
        seqs: list[str] = []
        try:
            while True:
                page = await self._stub(command).pull(request, timeout=_DEADLINE_SECONDS, metadata=_metadata(command))
                seqs += [str(message.seq) for message in page.messages]
                if not page.has_more:
                    return {"seqs": seqs, "next_cursor": str(page.next_cursor)}
                request.cursor = page.next_cursor
        except Exception as error:  # noqa: BLE001 # as above
            return {"error": describe(error)}

    async def _measure(self, command: dict[str, Any]) -> dict[str, Any]:
        return await measure(self._stub(command), _metadata(command), command)

    def _stub(self, command: dict[str, Any]) -> v1.ChatServiceStub:
        target = command["target"]
        if target not in self._channels:
            host, _, port = target.rpartition(":")
            self._channels[target] = Channel(host, int(port))
        return v1.ChatServiceStub(self._channels[target])

    def end(self) -> None:
        """Closes what is open."""
        for channel in self._channels.values():
            channel.close()


def _request(command: dict[str, Any]) -> Any:
    return to_message(getattr(v1, f"{command['method']}Request"), command["request"])


def _metadata(command: dict[str, Any]) -> dict[str, str]:
    return {"authorization": f"Bearer {command['token']}"} if "token" in command else {}


def _version() -> str:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    return str(project["project"]["version"])


async def main() -> None:
    """Says who it is, then answers until its input ends."""
    runtime = f"Python {platform.python_version()}, betterproto {metadata.version('betterproto')}"
    print(json.dumps({"runner": "python-betterproto", "version": _version(), "runtime": runtime}), flush=True)
    runner = Runner()
    while line := await asyncio.to_thread(sys.stdin.readline):
        try:
            answer = await runner.answer(json.loads(line))
        except Exception as error:  # noqa: BLE001 # whatever it is, the suite must hear of it
            answer = {"failed": repr(error)}
        print(json.dumps(answer), flush=True)
    runner.end()


if __name__ == "__main__":
    asyncio.run(main())
