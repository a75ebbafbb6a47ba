"""What is wrong is said in a line, what was measured until then is kept, and the exit status is not 0."""

import contextlib
import re
import resource
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from tests.bench.running import begin, bench, wait, wait_for_line
from tests.faults.armed_service import serve_command
from tests.support.certificates import make_certificate
from tests.support.disks import small_disk
from tests.support.servers import RunningServer, running_server

pytestmark = pytest.mark.timeout(120)
_SHORT = ("--warmup", "0.2", "--seconds", "0.8")


def test_unreachable_target(tmp_path: Path):
    ended = bench(tmp_path, "chat", "--target", "127.0.0.1:1")
    assert ended.status == 1
    assert "parley: 127.0.0.1:1 does not answer as Parley does: UNAVAILABLE" in ended.last_line
    assert "Traceback" not in ended.errors


def test_wrong_token(server: RunningServer, tmp_path: Path):
    tokens = tmp_path / "tokens"
    tokens.write_text("\n".join(f"user{nth} garbage" for nth in range(2)))
    options = ("--conversations", "1", "--token-file", str(tokens))
    ended = bench(tmp_path, "chat", "--target", server.target, *options)
    assert ended.status == 1
    assert "TOKEN_INVALID" in ended.last_line


def test_target_with_tls_is_measured_if_its_certificate_is_trusted(tmp_path: Path):
    certificate, key = make_certificate(tmp_path)
    settings = {"PARLEY_TLS_CERTIFICATE_FILE": str(certificate), "PARLEY_TLS_KEY_FILE": str(key)}
    with running_server(settings=settings) as server:
        options = ("--target", server.target, "--tls-server-name", "chat.example", *_SHORT)
        trusting = bench(tmp_path, "chat", "--tls-ca", str(certificate), *options)
        assert trusting.status == 0, trusting.errors
        for stranger in (("--tls",), ()):
            refused = bench(tmp_path, "chat", *stranger, *options)
            assert refused.status == 1
            assert "does not answer as Parley does" in refused.last_line


@pytest.mark.parametrize(
    ("text", "expected"),
    [(None, "can't be read"), ("one-word", "line 1: not `name token`"), ("a b\n", "needs 2 users")],
)
def test_token_file_that_will_not_do(server: RunningServer, tmp_path: Path, text: str | None, expected: str):
    tokens = tmp_path / "tokens"
    if text is not None:
        tokens.write_text(text)
    options = ("--conversations", "1", "--token-file", str(tokens))
    ended = bench(tmp_path, "chat", "--target", server.target, *options)
    assert ended.status == 1
    assert expected in ended.last_line


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("chat", "--rate", "0"), "--rate 0: give 0.1 to 10,000,000"),
        (("chat", "--rate", "-5"), "--rate -5: give 0.1 to 10,000,000"),
        (("chat", "--rate", "nan"), "--rate nan: give 0.1 to 10,000,000"),
        (("send", "--rate", "0"), "--rate 0: give 0.1 to 10,000,000, or leave it out to send as fast as answers come"),
        (("mixed", "--rate", "0"), "--rate 0: give 0.1 to 10,000,000, or leave it out to send 200"),
        (("chat", "--conversations", "2", "--streams", "3"), "more than --conversations 2"),
        (("send", "--outstanding", "2"), "less than --conversations 8"),
        (("idle", "--heartbeat", "0.5"), "once a second at most"),
        (("chat", "--tls"), "--tls needs a --target"),
        (("chat", "--target", "nowhere"), "--target nowhere: not HOST:PORT"),
        (("chat", "--target", "127.0.0.1:99999"), "not HOST:PORT"),
        (("chat", "--target", "http://a:1"), "not HOST:PORT"),
        (("chat", "--html", "/nonexistent/page.html"), "there is no directory /nonexistent"),
        (("chat", "--html", "/"), "it is a directory"),
        (("chat", "--target", "a:1", "--tls-ca", "/nonexistent"), "--tls-ca can't be read"),
    ],
)
def test_options_that_make_no_sense(tmp_path: Path, arguments: tuple[str, ...], expected: str):
    ended = bench(tmp_path, *arguments)
    assert ended.status == 1
    assert expected in ended.last_line
    assert ended.last_line.startswith("parley: ")


def test_too_few_files_for_the_streams_are_said_before_anything_starts(tmp_path: Path):
    def allow_few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))

    ended = bench(tmp_path, "idle", "--streams", "10000", prepare=allow_few)
    assert ended.status == 1
    assert ended.errors.strip().splitlines() == [ended.last_line]
    assert "10,000 connections need 10,200 open files, and the limit is 1,024" in ended.last_line
    assert "--streams-per-connection" in ended.last_line
    other = bench(tmp_path, "pull", "--outstanding", "10000", prepare=allow_few)
    assert "the limit is 1,024" in other.last_line
    assert "--streams-per-connection" not in other.last_line  # which it has not


def test_soft_limit_on_files_is_raised(server: RunningServer, tmp_path: Path):
    def allow_few_at_first() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 4096))

    options = ("--streams", "100", "--conversations", "1", "--target", server.target)
    ended = bench(tmp_path, "idle", *options, *_SHORT, prepare=allow_few_at_first)
    assert ended.status == 0, ended.errors


def test_server_that_dies_leaves_what_was_measured(tmp_path: Path):
    with running_server() as server:
        process = begin(tmp_path, "chat", "--target", server.target, "--warmup", "0.2", "--seconds", "60")
        wait_for_line(process, "acked/s")
        server.process.send_signal(signal.SIGKILL)
        ended = wait(process, tmp_path)
    assert ended.status == 1
    assert "the stream" in ended.last_line
    run = ended.run
    assert run.counts["acked"] > 0
    assert 0 < run.seconds < 60
    assert run.failure in ended.last_line
    assert run.verification is not None
    assert run.verification.is_held  # of streams that ended nothing is known


def test_own_server_that_dies_is_said(tmp_path: Path):
    process = begin(tmp_path, "chat", "--warmup", "0.2", "--seconds", "60")
    wait_for_line(process, "acked/s")
    for child in psutil.Process(process.pid).children():
        if "bench.generator" not in child.cmdline():
            child.kill()
    ended = wait(process, tmp_path)
    assert ended.status == 1
    assert ended.last_line.endswith("; the server that was started for the run has ended")
    assert ended.run.counts["acked"] > 0


def test_interrupt_keeps_what_was_measured(server: RunningServer, tmp_path: Path):
    process = begin(tmp_path, "chat", "--target", server.target, "--warmup", "0.2", "--seconds", "60")
    wait_for_line(process, "acked/s")
    process.send_signal(signal.SIGINT)
    ended = wait(process, tmp_path)
    assert ended.status == 130
    assert ended.last_line == "parley: interrupted"
    assert ended.run.failure == "interrupted"
    assert ended.run.counts["acked"] > 0
    assert ended.run.verification is not None
    assert ended.run.verification.is_held


def test_interrupt_before_anything_was_measured(tmp_path: Path):
    process = begin(tmp_path, "chat")
    wait_for_line(process, "starting a server")
    process.send_signal(signal.SIGTERM)
    ended = wait(process, tmp_path)
    assert ended.status == 130
    assert ended.last_line == "parley: interrupted"
    assert not ended.report_path.exists()


def test_result_that_can_not_be_written_is_shown(server: RunningServer, tmp_path: Path):
    def leave_no_room() -> None:  # as a full disk: writes of files end early
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))

    page = tmp_path / "page.html"
    page.write_text("older")
    options = ("--target", server.target, *_SHORT, "--html", str(page))
    ended = bench(tmp_path, "chat", *options, prepare=leave_no_room)
    assert ended.status == 1
    said = [line for line in ended.errors.splitlines() if line.startswith("parley: ")]
    assert [line.partition(": File too large")[0] for line in said] == [
        f"parley: {path} can't be written" for path in (ended.report_path, page)
    ]
    assert "messages/s" in ended.output
    assert list(tmp_path.iterdir()) == [page]
    assert page.read_text() == "older"


def fill_up(directory: Path) -> None:
    """Leaves no room on the disk of a directory."""
    with (directory / "filler").open("wb", buffering=0) as filler, contextlib.suppress(OSError):
        while True:
            filler.write(bytes(1 << 20))


def test_full_disk_under_the_server_of_the_run_is_said(tmp_path: Path):
    with tempfile.TemporaryDirectory(prefix="parley-disk-") as name, small_disk(Path(name), 200_000_000):
        Path(name).chmod(0o755)  # PostgreSQL is another user's
        options = ("--frame", "100", "--size", "1000", "--warmup", "0.2", "--seconds", "15")
        process = begin(tmp_path, "chat", *options, temporary_directory=Path(name))
        wait_for_line(process, "acked/s")
        fill_up(Path(name))
        ended = wait(process, tmp_path)
    assert ended.status == 1
    assert re.search(rf"; the disk of {name}/.* is full$", ended.last_line)
    run = ended.run
    assert run.failure in ended.last_line
    assert run.counts["acked"] > 0
    assert run.verification is not None
    assert run.verification.is_held


def test_refusals_are_counted_by_reason_and_end_nothing(tmp_path: Path):
    with running_server(settings={"PARLEY_LIMITS_MAX_QUEUED_MESSAGES": "2000"}) as server:
        options = ("--conversations", "2", "--frame", "500", "--window", "20")
        ended = bench(tmp_path, "chat", "--target", server.target, *options, *_SHORT)
    assert ended.status == 1
    assert re.search(r"refused: OVERLOADED \d+", ended.last_line)
    run = ended.run
    assert run.errors["OVERLOADED"] > 0
    assert run.verification is not None
    assert run.verification.is_held


@pytest.mark.parametrize(
    ("failpoint", "arguments", "expected"),
    [
        ("lanes_off", ("chat", "--conversations", "1", "--frame", "1", "--window", "64"), "out of order"),
        ("no_dedupe", ("mixed", "--streams", "6", "--members", "3", "--repeat-every", "2"), "doubled"),
    ],
)
def test_server_that_breaks_its_promises_fails_the_run(
    tmp_path: Path, failpoint: str, arguments: tuple[str, ...], expected: str
):
    settings = {"PARLEY_DATABASE_LANES": "2"}  # with one, none can be the wrong one
    with running_server(settings=settings, command=serve_command([failpoint])) as server:
        ended = bench(tmp_path, *arguments, "--target", server.target, "--warmup", "0", "--seconds", "2")
    assert ended.status == 1
    assert ended.last_line.startswith("parley: verification failed: ")
    count = re.search(rf"(\d+) {expected}", ended.last_line)
    assert count is not None
    assert int(count[1]) > 0


def test_without_the_package_the_command_says_what_to_install():
    script = (
        "from importlib import metadata; metadata.entry_points = lambda **_: ();"
        "from service.cli.main import main; main()"
    )
    command = [sys.executable, "-c", script, "bench", "chat"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 1
    assert re.fullmatch(
        r"parley: the load generator is not installed: \S+ -m pip install 'parley-bench>=\S+'"
        r" \(in a checkout: make \.venv/\.dev\)\n",
        ended.stderr,
    )


@pytest.mark.parametrize("command", [["parley", "bench"], ["parley-bench"]])
def test_both_commands_run_the_load_generator(command: list[str]):
    program = Path(sys.executable).with_name(command[0])
    ended = subprocess.run([program, *command[1:], "--help"], capture_output=True, text=True, check=False, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith(f"Usage: {' '.join(command)} [OPTIONS] COMMAND [ARGS]...\n")
