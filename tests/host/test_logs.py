"""What a line of the log looks like, and what never gets into one. Each case in a process of its own: logging is
configured once."""

import json
import os
import pty
import subprocess
import sys

import pytest

from service.logs import scrub_text

_CODE = """
import logging, sys, warnings
from service import logs
logs.configure("info", sys.argv[1], process="worker 0")
import structlog
log = structlog.get_logger("a")
{body}
"""


def lines_of(body: str, log_format: str = "json") -> list[str]:
    """Runs the body and gives what it logged."""
    code = _CODE.format(body=body)
    done = subprocess.run([sys.executable, "-c", code, log_format], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    return done.stderr.splitlines()


def test_each_line_is_json_with_time_level_event_process_and_call() -> None:
    first, second, third = map(
        json.loads,
        lines_of(
            'log.info("served", count=3)\nlogs.current_call_id.set("c1")\nlog.warning("slow")\n'
            'logging.getLogger("asyncpg").error("from %s", "elsewhere")\nlog.debug("hidden")'
        ),
    )
    assert first.pop("timestamp").endswith("Z")
    assert first == {"level": "info", "event": "served", "count": 3, "process": "worker 0"}
    assert (second["level"], second["event"], second["call_id"]) == ("warning", "slow", "c1")
    assert (third["level"], third["event"], third["call_id"]) == ("error", "from elsewhere", "c1")


def test_an_exception_is_in_its_line_without_values_of_variables() -> None:
    (line,) = lines_of(
        'def f(text):\n    raise ValueError("bad")\ntext = " ".join(["a", "private", "text"])\n'
        'try:\n    f(text)\nexcept ValueError:\n    log.exception("failed")'
    )
    entry = json.loads(line)
    assert "ValueError: bad" in entry["exception"]
    assert "a private text" not in line


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_planted_secrets_are_masked(log_format: str) -> None:
    body = """
log.info("x", token="canary-1", password="canary-2", text="canary-3", metadata=(("authorization", "Bearer canary-4"),))
log.info("connect to postgresql://u:canary-5@h/d", nested={"refresh_token": "canary-6"})
try:
    raise ValueError("invalid input for query argument $2: 'canary-7' (a str)")
except ValueError:
    log.exception("failed")
logging.error("Key (username)=(canary-8) already exists")
logging.error("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJjYW5hcnktOSJ9.c2lnbmF0dXJl")
log.info("failed", error=RuntimeError("password=canary-10"))
"""
    output = "\n".join(lines_of(body, log_format))
    assert "canary" not in output
    assert "eyJ" not in output
    assert output.count("***") >= 9


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("redis://:secret@host:1/0", "redis://:***@host:1/0"),
        ("authorization: Bearer abc.def-ghi", "authorization: Bearer ***"),
        ("nothing here", "nothing here"),
        ("the token ended", "the token ended"),
    ],
)
def test_text_is_scrubbed(text: str, expected: str) -> None:
    assert scrub_text(text) == expected


def test_a_terminal_gets_lines_for_people() -> None:
    child, terminal = pty.fork()
    if child == 0:
        os.execv(sys.executable, [sys.executable, "-c", _CODE.format(body='log.info("hello there", n=1)'), "auto"])
    output = b""
    try:
        while chunk := os.read(terminal, 4096):
            output += chunk
    except OSError:  # the other end is closed
        pass
    os.waitpid(child, 0)
    os.close(terminal)
    assert b"hello there" in output
    assert b"\x1b[" in output
    assert not output.startswith(b"{")


def test_logging_is_configured_once() -> None:
    lines_of(
        "try:\n    logs.configure('info', 'auto', process='x')\nexcept RuntimeError:\n    pass\nelse:\n    sys.exit(3)"
    )
