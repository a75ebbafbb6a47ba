"""The terminal chat in this process, at a screen that keeps what it shows: all of it but the terminal."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import Any

from grpc import aio
from parley.v1 import chat_service_pb2_grpc, message_pb2
from terminal_chat.channel import CHANNEL_OPTIONS
from terminal_chat.chat import Chat
from terminal_chat.login import Credentials, Login, log_in
from terminal_chat.screen import Event, Submitted

from tests.support.waiting import wait_for

PASSWORD = "a long enough password"


@dataclass(slots=True)
class Recorder:
    """A screen that keeps its lines."""

    events: asyncio.Queue[Event] = field(default_factory=asyncio.Queue)
    lines: list[str] = field(default_factory=list)

    def start(self) -> None:
        """Nothing needs to begin."""

    async def stop(self) -> None:
        """Nothing needs to end."""

    def print(self, lines: Iterable[str], *, is_dim: bool = False) -> None:
        self.lines += lines

    def set_prompt(self, prompt: str) -> None:
        """There is none."""


@dataclass(slots=True)
class Seat:
    """Somebody at such a screen."""

    name: str
    stub: Any
    login: Login
    chat: Chat
    screen: Recorder

    def types(self, line: str) -> None:
        self.screen.events.put_nowait(Submitted(line))

    def said_by(self, name: str) -> list[str]:
        """The texts of a user on the screen, in order."""
        mark = f" {name}: "
        return [line.partition(mark)[2] for line in self.screen.lines if mark in line and not line.startswith("*")]

    def history(self) -> list[str]:
        """The texts on the screen that hold: without those that a later line calls void."""
        texts: list[str] = []
        for line in self.screen.lines:
            if found := re.search(r"the last (\d+) entries are void$", line):
                del texts[len(texts) - int(found[1]) :]
            elif found := re.match(r"(?:\[\S+\] )?\d\d:\d\d \S+: (.*)", line):
                texts.append(found[1])
        return texts

    async def sees(self, text: str, *, limit_seconds: float = 30.0) -> None:
        """Waits for a text on the screen."""
        what = f"{text!r} on the screen of {self.name}"
        await wait_for(lambda: text in "\n".join(self.screen.lines), limit_seconds=limit_seconds, what=what)

    async def pulls(self, conversation_id: str) -> list[message_pb2.Message]:
        """Reads the log."""
        log: list[message_pb2.Message] = []
        request = message_pb2.PullRequest(conversation_id=conversation_id, limit=500)
        while True:
            page = await self.stub.Pull(request, metadata=self.login.metadata, timeout=20)
            log += page.messages
            if not page.has_more:
                return log
            request.cursor = page.next_cursor


@contextlib.asynccontextmanager
async def seated(target: str, name: str, conversation: str = "") -> AsyncIterator[Seat]:
    """Registers or logs in, and runs the chat until the end of the block; what fails in it, fails the test."""
    options = [*CHANNEL_OPTIONS, ("grpc.use_local_subchannel_pool", 1)]
    async with aio.insecure_channel(target, options=options) as channel:
        stub = chat_service_pb2_grpc.ChatServiceStub(channel)
        login = await log_in(stub, Credentials(name, PASSWORD), may_register=True)
        screen = Recorder()
        chat = Chat(stub, login, screen)
        tasks = [asyncio.create_task(chat.connection.run()), asyncio.create_task(chat.run(conversation))]
        try:
            yield Seat(name, stub, login, chat, screen)
        finally:
            ended = [task for task in tasks if task.done()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for task in ended:
                task.result()
