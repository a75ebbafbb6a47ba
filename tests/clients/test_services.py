"""The example of two services: what it leaves in the log, read from outside; how it refuses, and how it ends."""

import collections
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import psutil
import pytest
from parley.v1 import chat_service_pb2_grpc, dead_letter_pb2, message_pb2

from tests.support.servers import RunningServer, running_server
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "clients" / "examples" / "services"
WORKSHOP = ROOT / "build" / "services" / "workshop"
TOTALS = {"1001": 2500, "1002": 8000, "1003": 14700, "1004": 30000, "1005": 6250}

pytestmark = pytest.mark.timeout(300)


@dataclass(frozen=True, slots=True)
class Story:
    """What `run.py` said, and a server on the data that it left."""

    output: str
    server: RunningServer


@pytest.fixture(scope="module")
def go() -> None:
    if shutil.which("go") is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("the workshop is written in Go, and go is not on PATH")


@pytest.fixture(scope="module")
def story(go: None) -> Iterator[Story]:
    with tempfile.TemporaryDirectory(prefix="parley-services-") as directory:
        done = example("run.py", "--data-dir", directory)
        assert done.returncode == 0, done.stdout + done.stderr
        with running_server(Path(directory)) as server:
            yield Story(done.stdout, server)


def example(
    program: str | Path, *arguments: str, token: str = "", path: str = ""
) -> "subprocess.CompletedProcess[str]":
    """Runs a program of the example to its end."""
    command = [str(program)] if Path(program).is_absolute() else [sys.executable, str(EXAMPLE / program)]
    environment = os.environ | {"SERVICE_TOKEN": token} | ({"PATH": path} if path else {})
    return subprocess.run(
        [*command, *arguments], env=environment, capture_output=True, text=True, timeout=280, check=False
    )


def mint(server: RunningServer, *arguments: str) -> str:
    """Asks `parley token` for one."""
    command = [sys.executable, "-m", "service", "token", *arguments, "--data-dir", str(server.data_dir)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.strip()


def test_each_order_is_answered_once_and_no_dead_letter_is_left(story: Story) -> None:
    metadata = (("authorization", f"Bearer {mint(story.server, 'shop', '--scope', 'dead_letters')}"),)
    with grpc.insecure_channel(story.server.target) as channel:
        stub = chat_service_pb2_grpc.ChatServiceStub(channel)
        request = message_pb2.PullRequest(conversation_id="shop:workshop", limit=500)
        log = stub.Pull(request, metadata=metadata, timeout=20).messages
        everything = dead_letter_pb2.ListDeadLettersRequest(all_users=True)
        assert not stub.ListDeadLetters(everything, metadata=metadata, timeout=20).dead_letters
    by_kind = collections.defaultdict(list)
    for entry in log:
        by_kind[entry.sender, entry.attributes["kind"]].append(entry)
    orders = {entry.attributes["order"]: entry.seq for entry in by_kind.pop(("shop", "order"))}
    answers = [entry.attributes for entry in by_kind["workshop", "answer"]]
    assert sorted((answer["order"], int(answer["total_cents"])) for answer in answers) == sorted(TOTALS.items())
    assert all(orders[entry.attributes["order"]] == entry.reply_to_seq for entry in by_kind.pop(("workshop", "answer")))
    assert {kind: len(entries) for kind, entries in by_kind.items()} == {("shop", "price"): 4}


def test_story_has_retries_a_death_before_the_ack_a_redrive_and_a_shop_that_is_killed(story: Story) -> None:
    for line in (
        r"workshop \d \| order 1002, attempt 1, failed: the clockmaker does not answer",
        r"workshop \d \| order 1002, attempt 3, is answered",
        r"workshop \d \| it dies before the ack",
        r"workshop \d \| order 1003, attempt 2, was answered before",
        r"operator \| order 1004 is a dead letter after 4 attempts: there is no price for the globe",
        r"workshop \d \| order 1004, attempt 1, is answered",
        r"shop \| order 1001: 2 x vase, as given before",
        r"shop \| every order is answered",
    ):
        assert re.search(line, story.output), f"{line} is not in\n{story.output}"
    assert story.output.count("it dies before the ack") == 1


def test_workshop_and_shop_with_a_wrong_token_say_so_in_one_line(story: Story, tmp_path: Path) -> None:
    for program, arguments, line in (
        (WORKSHOP, (), r"workshop: rpc error: code = Unauthenticated desc = .*token.*\n"),
        ("shop.py", (str(tmp_path / "book.sqlite"),), r"UNAUTHENTICATED: .*token.*\n"),
    ):
        refused = example(program, story.server.target, *arguments, token="wrong")
        assert refused.returncode == 1
        assert refused.stdout == ""
        assert re.fullmatch(line, refused.stderr), refused.stderr


def test_scope_is_needed_to_see_the_dead_letters_of_the_workshop(story: Story) -> None:
    refused = example("mend.py", story.server.target, token=mint(story.server, "shop"))
    assert refused.returncode == 1
    assert re.fullmatch(r"PERMISSION_DENIED: .*dead_letters.*\n", refused.stderr), refused.stderr


def test_check_fails_when_an_order_is_answered_twice_or_not_at_all(server: RunningServer) -> None:
    operator_token = mint(server, "--service", "shop", "--scope", "dead_letters")
    metadata = (("authorization", f"Bearer {mint(server, '--service', 'workshop')}"),)
    answer = message_pb2.SendRequest(
        conversation_id="shop:workshop", text="done", attributes={"kind": "answer", "order": "1001"}
    )
    with grpc.insecure_channel(server.target) as channel:
        stub = chat_service_pb2_grpc.ChatServiceStub(channel)
        stub.BatchSend(message_pb2.BatchSendRequest(requests=[answer, answer]), metadata=metadata, timeout=20)
    failed = example("check.py", server.target, token=operator_token)
    assert failed.returncode == 1
    assert "1001: 2, 1002: 0" in failed.stdout
    assert failed.stderr == "not every order was answered exactly once\n"


def test_without_go_it_says_so_and_starts_nothing(tmp_path: Path) -> None:
    refused = example("run.py", path=str(tmp_path))
    assert refused.returncode == 1
    assert refused.stdout == ""
    assert refused.stderr == "services: the workshop is written in Go, and go is not on PATH\n"


# Starts what it is told to on a stage, says so, and waits.
_HOLD = """
import asyncio, contextlib, sys
from programs import Stage

async def hold():
    async with contextlib.AsyncExitStack() as stack:
        stage = Stage(stack, {})
        for number in range(2):
            program = await stage.start(f"program {number}", *sys.argv[1:])
            await program.line_with("up")
        print("all up", flush=True)
        await asyncio.Event().wait()

asyncio.run(hold())
"""


def test_programs_end_when_the_one_that_started_them_is_killed() -> None:
    program = (sys.executable, "-c", "import time; print('up', flush=True); time.sleep(300)")
    process = subprocess.Popen([sys.executable, "-c", _HOLD, *program], cwd=EXAMPLE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout as lines:
        assert any("all up" in line for line in lines)
        started = psutil.Process(process.pid).children()
        assert len(started) == 2
        process.kill()
        process.wait()
    try:
        wait_until(lambda: not [one for one in started if one.is_running()], what="the end of all")
    finally:
        for one in started:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()


def test_ctrl_c_stops_all_that_was_started_and_leaves_nothing(go: None) -> None:
    with tempfile.TemporaryDirectory(prefix="parley-") as temporary:
        process = subprocess.Popen(
            [sys.executable, str(EXAMPLE / "run.py")],
            env=os.environ | {"TMPDIR": temporary},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert process.stdout is not None
        with process.stdout as lines:
            assert any("order 1001" in line for line in lines), "it ended early"
            started = psutil.Process(process.pid).children(recursive=True)
            process.send_signal(signal.SIGINT)
            rest = lines.read()
        assert process.wait(60) == 1
        assert rest.endswith("services: stopped\n"), rest
        assert len(started) >= 5  # the supervisor, its worker, its databases, the workshops
        wait_until(lambda: not [one for one in started if one.is_running()], what="the end of all")
        assert list(Path(temporary).iterdir()) == []
