"""Reads commands and writes answers, a line each."""

import json
import platform
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import json_format, message_factory
from parley.v1 import chat_pb2, chat_service_pb2, chat_service_pb2_grpc, message_pb2

from conformance.errors import describe
from conformance.measure import measure
from conformance.sessions import Sessions
from conformance.streams import Stream

_DEADLINE_SECONDS = 30.0
_OPTIONS = [("grpc.max_reconnect_backoff_ms", 1000), ("grpc.enable_http_proxy", 0)]
# Field 1000, length-delimited, "newer": a payload of a contract that is newer than ours.
_NEWER_PAYLOAD = b"\xc2\x3e\x05newer"


class Runner:
    """The channels and streams that are open."""

    def __init__(self) -> None:
        self._stubs: dict[str, chat_service_pb2_grpc.ChatServiceStub] = {}
        self._streams: dict[str, Stream] = {}
        self._sessions = Sessions()

    def answer(self, command: dict[str, Any]) -> dict[str, Any]:
        """Does one command."""
        if command["do"].startswith("session_"):
            return self._sessions.answer(command)
        act = getattr(self, f"_{command['do']}", None)
        return act(command) if act is not None else {"failed": f"there is no {command['do']}"}

    def _call(self, command: dict[str, Any]) -> dict[str, Any]:
        method = getattr(self._stub(command), command["method"])
        deadline = command.get("deadline_ms", _DEADLINE_SECONDS * 1000) / 1000
        future = method.future(_request(command), timeout=deadline, metadata=_metadata(command))
        try:
            if "cancel_after_ms" in command:
                try:
                    future.result(timeout=command["cancel_after_ms"] / 1000)
                except grpc.FutureTimeoutError:
                    future.cancel()
            return {"response": json_format.MessageToDict(future.result())}
        except grpc.FutureCancelledError:
            return {"error": {"code": future.code().name, "message": future.details() or "", "log": "cancelled by us"}}
        except grpc.RpcError as error:
            return {"error": describe(error)}

    def _open(self, command: dict[str, Any]) -> dict[str, Any]:
        method = getattr(self._stub(command), command["method"])
        request = _request(command) if command["method"] == "Subscribe" else None
        self._streams[command["stream"]] = Stream(method, request, _metadata(command))
        return {"opened": True}

    def _write(self, command: dict[str, Any]) -> dict[str, Any]:
        frame = json_format.ParseDict(command["frame"], chat_pb2.ChatRequest())
        return {"written": self._streams[command["stream"]].write(frame)}

    def _write_newer(self, command: dict[str, Any]) -> dict[str, Any]:
        frame = chat_pb2.ChatRequest(correlation_id=command["correlation_id"])
        frame.MergeFromString(_NEWER_PAYLOAD)  # kept as an unknown field
        return {"written": self._streams[command["stream"]].write(frame)}

    def _read(self, command: dict[str, Any]) -> dict[str, Any]:
        return self._streams[command["stream"]].read(command["timeout_ms"] / 1000)

    def _close(self, command: dict[str, Any]) -> dict[str, Any]:
        self._streams[command["stream"]].close()
        return {"closed": True}

    def _cancel(self, command: dict[str, Any]) -> dict[str, Any]:
        self._streams[command["stream"]].cancel()
        return {"cancelled": True}

    def _page(self, command: dict[str, Any]) -> dict[str, Any]:
        request = json_format.ParseDict(command["request"], message_pb2.PullRequest())
        seqs: list[str] = []
        try:
            while True:
                page = self._stub(command).Pull(request, timeout=_DEADLINE_SECONDS, metadata=_metadata(command))
                seqs += [str(message.seq) for message in page.messages]
                if not page.has_more:
                    return {"seqs": seqs, "next_cursor": str(page.next_cursor)}
                request.cursor = page.next_cursor
        except grpc.RpcError as error:
            return {"error": describe(error)}

    def _measure(self, command: dict[str, Any]) -> dict[str, Any]:
        return measure(self._stub(command), _metadata(command), command)

    def _stub(self, command: dict[str, Any]) -> chat_service_pb2_grpc.ChatServiceStub:
        target = command["target"]
        if target not in self._stubs:
            self._stubs[target] = chat_service_pb2_grpc.ChatServiceStub(grpc.insecure_channel(target, _OPTIONS))
        return self._stubs[target]


def _request(command: dict[str, Any]) -> Any:
    method = chat_service_pb2.DESCRIPTOR.services_by_name["ChatService"].methods_by_name[command["method"]]
    return json_format.ParseDict(command["request"], message_factory.GetMessageClass(method.input_type)())


def _metadata(command: dict[str, Any]) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {command['token']}")] if "token" in command else []


def _version() -> str:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    return str(project["project"]["version"])


def main() -> None:
    """Says who it is, then answers until its input ends."""
    runtime = f"Python {platform.python_version()}, grpcio {metadata.version('grpcio')}"
    print(json.dumps({"runner": "python", "version": _version(), "runtime": runtime}), flush=True)
    runner = Runner()
    for line in sys.stdin:
        try:
            answer = runner.answer(json.loads(line))
        except Exception as error:  # noqa: BLE001 # whatever it is, the suite must hear of it
            answer = {"failed": repr(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
