"""The command lines, and what grpcurl prints when a call is refused."""

import json
from typing import Any

import grpc

SERVICE = "parley.v1.ChatService"
DOMAIN = "parley.v1"
_CODES = {code.value[0]: code.name for code in grpc.StatusCode}
# What it says when there is no call because there is no connection.
_NO_CONNECTION = "Failed to dial"
# A page is up to 1 MiB, and grpcurl's own limit 4 MB; its time to connect is 10 s.
_CONNECT_SECONDS = "5"


def command_line(command: dict[str, Any], *, seconds: float = 0) -> list[str]:
    """Gives what one would type; the request is on standard input."""
    line = ["grpcurl", "-plaintext", "-format-error", "-connect-timeout", _CONNECT_SECONDS, "-d", "@"]
    if seconds:
        line += ["-max-time", f"{seconds:g}"]
    if "token" in command:
        line += ["-H", f"authorization: Bearer {command['token']}"]
    return [*line, command["target"], f"{SERVICE}/{command['method']}"]


def describe(output: str) -> dict[str, Any]:
    """Gives ERROR from what it wrote to standard error."""
    try:
        status = json.loads(output)
    except ValueError:
        code = "UNAVAILABLE" if _NO_CONNECTION in output and "deadline" not in output else "DEADLINE_EXCEEDED"
        return {"code": code, "message": output.strip(), "log": output.strip()}
    answer = {"code": _CODES[status["code"]], "message": status.get("message", ""), "log": output.strip()}
    for detail in status.get("details", ()):
        kind = detail["@type"].rpartition(".")[2]
        if kind == "ErrorInfo" and detail["domain"] == DOMAIN:
            answer |= {"reason": detail["reason"], "metadata": detail["metadata"]}
        elif kind == "BadRequest":
            answer["fields"] = [violation["field"] for violation in detail["field_violations"]]
        elif kind == "RetryInfo":
            answer["retry_delay_ms"] = float(detail["retry_delay"].removesuffix("s")) * 1000
    return answer
