"""The tutorial's bots, made from the page as a reader makes them, and broken as the page says."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from parley.v1 import account_pb2, chat_service_pb2_grpc, message_pb2

from tests.docs.pages import ROOT
from tests.support.servers import RunningServer, running_server
from tests.support.waiting import wait_until

PAGE = ROOT / "docs/tutorial.md"
pytestmark = pytest.mark.timeout(400)
_TOOLS = {"Python": "python3", "Go": "go", "TypeScript": "npm"}
_BUILD_SECONDS = 300


class Section:
    """What a part of the page says: the program, and the commands around it."""

    def __init__(self, title: str) -> None:
        text = PAGE.read_text()
        part = text.partition(f"## {title}\n")[2].partition("\n## ")[0]
        self.files: dict[str, str] = {}
        self.commands: list[str] = []
        saved = ""
        for before, block in zip(part.split("```")[::2], part.split("```")[1::2], strict=False):
            language, _, content = block.partition("\n")
            if "ave as `" in before:
                saved = before.rpartition("ave as `")[2].partition("`")[0]
            if language == "sh":
                self.commands += content.splitlines()
            else:
                self.files[saved] = content


@pytest.fixture
def server() -> Iterator[RunningServer]:
    with running_server() as running:
        yield running


@pytest.fixture
def folder(server: RunningServer, tmp_path: Path) -> Path:
    """The bot's folder, after what the page says to do before all else."""
    place = tmp_path / "parley-bot"
    script = "\n".join(Section("Before you begin").commands).replace("../parley-bot", str(place))
    run(script, ROOT, server)
    return place


def run(script: str, directory: Path, server: RunningServer) -> None:
    """Runs shell lines as somebody types them."""
    environment = os.environ | {"PARLEY": str(ROOT), "PARLEY_DATA_DIR": str(server.data_dir)}
    done = subprocess.run(
        ["bash", "-euc", script],
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_BUILD_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout


class Bot:
    """The last command of a section, as it runs."""

    def __init__(self, command: str, folder: Path, target: str) -> None:
        self._log = folder / "bot.log"
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                # A shell's background job ignores Ctrl-C, and so would the bot, where the tests were started as one.
                ["env", "--default-signal=INT", "bash", "-c", f"exec {command} {target}"],
                cwd=folder,
                env=os.environ | {"PARLEY": str(ROOT)},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def text(self) -> str:
        return self._log.read_text()

    def interrupt(self) -> None:
        """Ctrl-C; a program that `go run` started gets it, too."""
        os.killpg(self.process.pid, signal.SIGINT)
        self.process.wait(30)


class Ann:
    """Who writes to the bot."""

    def __init__(self, target: str) -> None:
        self.channel = grpc.insecure_channel(target)
        self.stub = chat_service_pb2_grpc.ChatServiceStub(self.channel)
        name = f"ann{os.urandom(3).hex()}"
        answer = self.stub.Register(account_pb2.RegisterRequest(username=name, password="a long password"), timeout=20)
        self.metadata = [("authorization", f"Bearer {answer.access_token}")]
        self.conversation_id = f"{name}:counter"

    def write(self, text: str) -> int:
        request = message_pb2.SendRequest(conversation_id=self.conversation_id, text=text)
        return int(self.stub.Send(request, metadata=self.metadata, timeout=20).message.seq)

    def answers(self) -> list[tuple[int, str]]:
        request = message_pb2.PullRequest(conversation_id=self.conversation_id, limit=100)
        answer = self.stub.Pull(request, metadata=self.metadata, timeout=20)
        return [(found.reply_to_seq, found.text) for found in answer.messages if found.sender == "counter"]


@pytest.mark.parametrize("language", ["Python", "Go", "TypeScript"])
def test_bot_of_the_page_answers_once_whatever_breaks(server: RunningServer, folder: Path, language: str) -> None:
    if shutil.which(_TOOLS[language]) is None:
        assert not os.environ.get("CI"), f"{_TOOLS[language]} is not installed"
        pytest.skip(f"{_TOOLS[language]} is not installed")
    section = Section(f"In {language}")
    for name, content in section.files.items():
        (folder / name).write_text(content)
    *preparation, start = section.commands
    run("\n".join(preparation), folder, server)
    ann = Ann(server.target)
    bot = Bot(start, folder, server.target)
    first = ann.write("count the words of this")
    wait_until(lambda: ann.answers() == [(first, "words: 4")], what="the answer", limit_seconds=100)
    bot.interrupt()
    ann.write("no question")
    second = ann.write("count me")
    bots = [Bot(start, folder, server.target), Bot(start, folder, server.target)]
    wait_until(lambda: len(ann.answers()) == 2, what="the answer after a break", limit_seconds=100)
    wait_until(lambda: bots[0].text.count("words: 1") == 2, what="both bots", limit_seconds=100)
    for each in bots:
        each.interrupt()
    assert ann.answers() == [(first, "words: 4"), (second, "words: 1")]
    ann.channel.close()
