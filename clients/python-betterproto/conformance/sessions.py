"""Drives the sessions of ../examples/session.py."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from parley_betterproto.parley import v1
from session import Entry, Refused, Session

from conformance.errors import describe_refused
from conformance.forms import to_json


class _Driven:
    """A session, its sends that are under way by ticket, and the wait for its next entry."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.sends: dict[str, asyncio.Task[v1.Accepted]] = {}
        self.entries: AsyncIterator[Entry] = session.messages()
        self.next: asyncio.Future[Entry] | None = None


class Sessions:
    """Those that are open, by name."""

    def __init__(self) -> None:
        self._driven: dict[str, _Driven] = {}

    async def answer(self, command: dict[str, Any]) -> dict[str, Any]:
        """Does one command."""
        name = command["session"]
        if command["do"] == "session_open":
            return await self._open(name, command)
        driven = self._driven[name]
        match command["do"]:
            case "session_send":
                send = driven.session.send(command["conversation_id"], command["text"])
                driven.sends[command["ticket"]] = asyncio.create_task(send)
                return {"sending": True}
            case "session_sent":
                return await _outcome(driven.sends[command["ticket"]], command, "accepted")
            case "session_next":
                return await self._next(driven, command)
            case "session_ack":
                driven.session.ack(command["conversation_id"], int(command["seq"]))
                return {"acked": True}
            case "session_close":
                await driven.session.close(command["timeout_ms"] / 1000)
                return {"closed": True}
        return {"failed": f"there is no {command['do']}"}

    async def _open(self, name: str, command: dict[str, Any]) -> dict[str, Any]:
        who = (command["target"], command["username"], command["password"])
        heartbeat_seconds = command["heartbeat_ms"] / 1000
        try:
            session = await Session.open(*who, device_id=command["device_id"], heartbeat_seconds=heartbeat_seconds)
        except Refused as refused:
            return {"error": describe_refused(refused)}
        self._driven[name] = _Driven(session)
        return {"opened": True}

    async def _next(self, driven: _Driven, command: dict[str, Any]) -> dict[str, Any]:
        if driven.next is None:
            driven.next = asyncio.ensure_future(anext(driven.entries))
        answer = await _outcome(driven.next, command, "entry")
        if "nothing" not in answer:
            driven.next = None
        if "error" in answer:
            return {"end": answer["error"]}
        if "entry" in answer:
            kind = "message" if isinstance(answer["entry"], v1.Message) else "reset"
            return {kind: to_json(answer["entry"])}
        return answer


async def _outcome(waited: asyncio.Future[Any], command: dict[str, Any], key: str) -> dict[str, Any]:
    done, _ = await asyncio.wait([waited], timeout=command["timeout_ms"] / 1000)
    if not done:
        return {"nothing": True}
    try:
        result = waited.result()
    except Refused as refused:
        return {"error": describe_refused(refused)}
    except StopAsyncIteration:
        return {"error": {"code": "OK"}}
    return {key: to_json(result) if key == "accepted" else result}
