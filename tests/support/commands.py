"""The command line in this process, on a running server's data directory or a database of the tests."""

import json
import os
from typing import Any

from typer.testing import CliRunner, Result

from service.cli.commands import app
from tests.support.servers import RunningServer


def command(*arguments: str, stdin: str | bytes | None = None, **settings: str) -> Result:
    """Runs a command to its end; for tests that run no event loop.

    Args:
        settings: PARLEY_* variables.
    """
    cleared = {name: None for name in os.environ if name.startswith("PARLEY_")}
    return CliRunner(env=cleared | settings).invoke(app, arguments, input=stdin, prog_name="parley")


def on_server(server: RunningServer, *arguments: str, stdin: str | bytes | None = None) -> Result:
    """Runs a command beside a server."""
    return command(*arguments, stdin=stdin, PARLEY_DATA_DIR=str(server.data_dir))


def done(server: RunningServer, *arguments: str, stdin: str | bytes | None = None) -> str:
    """Runs a command that has to succeed; gives what it printed."""
    result = on_server(server, *arguments, stdin=stdin)
    assert result.exit_code == 0, result.output
    return result.stdout


def rows(server: RunningServer, *arguments: str, stdin: str | bytes | None = None) -> list[dict[str, Any]]:
    """Runs a command with --json; gives its objects."""
    return [json.loads(line) for line in done(server, *arguments, "--json", stdin=stdin).splitlines()]


def refused(server: RunningServer, *arguments: str, stdin: str | bytes | None = None) -> str:
    """Runs a command that has to be refused in one line; gives the line."""
    result = on_server(server, *arguments, stdin=stdin)
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    return line.removeprefix("parley: ")
