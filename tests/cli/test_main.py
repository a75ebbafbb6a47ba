"""The command line: help, version, and how mistakes end. What needs a running server is in tests/ops."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from service.cli.commands import app


def run(*arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    """Runs the command to its end."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PARLEY_")}
    return subprocess.run(
        [sys.executable, "-m", "service", *arguments],
        env=environment | settings,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def loaded_by(code: str, *arguments: str) -> set[str]:
    """Runs it in a process of its own, and gives what that has loaded, with the packages above."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint()\nprint(*sys.modules)", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    modules = done.stdout.splitlines()[-1].split()
    return {*modules, *(name.partition(".")[0] for name in modules)}


def test_every_command_and_option_has_a_help() -> None:
    root = get_command(app)
    commands = dict(root.commands)  # type: ignore[attr-defined]
    for group in ("user", "login", "device", "keys"):
        commands |= {f"{group} {name}": command for name, command in commands[group].commands.items()}
    assert {"serve", "migrate", "config", "token", "user", "health", "user create", "login end"} <= set(commands)
    for name, command in commands.items():
        assert command.help, name
        for parameter in command.params:
            assert command.hidden or getattr(parameter, "help", None), f"{name} {parameter.name}"


def test_version_and_help_are_printed() -> None:
    assert run("--version").stdout.startswith("parley 0.")
    shown = run("serve", "--help")
    assert shown.returncode == 0
    for flag in ("--listen", "--data-dir", "--workers", "--config"):
        assert flag in shown.stdout


def test_the_example_is_yaml() -> None:
    assert yaml.safe_load(run("config", "--example").stdout)["listen"] == "127.0.0.1:50051"


def test_config_prints_origins(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("workers: 3\n")
    shown = run("config", PARLEY_CONFIG=str(path), PARLEY_REDIS_URL="redis://:hunter2@h").stdout
    assert f"workers: 3  # file {path}" in shown
    assert "hunter2" not in shown


@pytest.mark.parametrize("command", ["config", "serve", "migrate"])
def test_a_wrong_setting_is_one_line_and_status_1(command: str) -> None:
    done = run(command, PARLEY_WORKERS="many")
    assert done.returncode == 1
    assert done.stderr == (
        "parley: workers (variable PARLEY_WORKERS): 'many' is not allowed; it takes a whole number from 1 to 64\n"
    )


def test_an_option_that_a_shell_left_empty_is_told() -> None:
    for arguments in (("serve", "--data-dir", ""), ("config", "--config=")):
        done = run(*arguments)
        assert done.returncode == 2
        assert "it is empty; leave it out for the default" in done.stderr


@pytest.mark.parametrize("arguments", [("token", "alice"), ("user", "create", "alice"), ("migrate",)])
def test_without_a_running_server_commands_say_so(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = run(*arguments, "--data-dir", str(tmp_path / "d"))
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("parley: no server runs on the data directory")


def test_what_the_supervisor_loads_is_small() -> None:
    """What takes much memory is for the process that prepares, which ends, and for workers."""
    heavy = {"asyncpg", "cryptography", "google", "grpc", "jwt", "pydantic", "redis", "rich.console", "typer", "yaml"}
    code = "from service.cli import main\ntry:\n    main.main()\nexcept SystemExit:\n    pass"
    loaded = loaded_by(code, "serve", "--help")
    assert "service.host.serving_process" in loaded
    assert heavy.isdisjoint(loaded)


def test_what_a_worker_loads_has_nothing_that_only_a_start_needs() -> None:
    loaded = loaded_by(
        "from service.worker import main; main.main(0, 0, 0, None);"
        "import service.settings.handoff, service.worker.server"
    )
    assert {"grpc", "asyncpg", "service.worker.server", "service.settings.tree"} <= loaded
    assert {"pydantic", "rich.console", "typer", "yaml"}.isdisjoint(loaded)


def test_health_loads_nothing_that_takes_long() -> None:
    code = "from service.cli import health\nhealth.main(['--listen', '127.0.0.1:1'])"
    slow = {"grpc", "google", "pydantic", "structlog", "typer", "yaml", "ssl", "asyncio", "logging", "pathlib"}
    assert loaded_by(code) & slow <= loaded_by("pass") & slow  # some are there before any of ours
