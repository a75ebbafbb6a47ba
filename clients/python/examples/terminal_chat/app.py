"""The terminal chat: reads the arguments, logs in, and joins screen, connection and commands."""

import argparse
import asyncio
import contextlib
import signal
import sys
from typing import NoReturn

from parley.v1 import chat_service_pb2_grpc

from terminal_chat.channel import add_arguments, open_channel
from terminal_chat.chat import HELP, Chat
from terminal_chat.errors import LeaveChat, NoSuchLogin
from terminal_chat.login import Credentials, ask_credentials, log_in
from terminal_chat.terminal import open_screen
from terminal_chat.text import to_safe_line

_DRAIN_SECONDS = 10.0
_SIGNAL_DRAIN_SECONDS = 1.0


def main() -> None:
    """Runs the command; exits with 0 when left by the user, else 1 with a line that says why."""
    options = _parse_arguments()
    # Also while a password is asked for: the exception lets getpass switch the echo on again.
    signal.signal(signal.SIGTERM, _terminate)
    signal.signal(signal.SIGHUP, _terminate)
    is_interactive = sys.stdin.isatty() and sys.stdout.isatty()
    try:
        # Asked for outside the event loop, which would take Ctrl-C away from the question.
        who = ask_credentials(options.user, is_interactive=is_interactive)
        try:
            asyncio.run(_chat(options, who, may_register=options.register))
        except NoSuchLogin:
            if not is_interactive or not _wants_to_register(who.username):
                raise
            asyncio.run(_chat(options, who, may_register=True))
    except LeaveChat as reason:
        sys.exit(f"terminal chat: {reason}")
    except (KeyboardInterrupt, EOFError):
        sys.exit(130)


def _wants_to_register(username: str) -> bool:
    question = f"no account has this name and password; register {to_safe_line(username)} as a new one? [y/N] "
    return input(question).strip().lower() in ("y", "yes")


async def _chat(options: argparse.Namespace, who: Credentials, *, may_register: bool) -> None:
    async with open_channel(options) as channel:
        stub = chat_service_pb2_grpc.ChatServiceStub(channel)
        login = await log_in(stub, who, may_register=may_register)
        screen = open_screen()
        chat = Chat(stub, login, screen)
        loop = asyncio.get_running_loop()
        leaving = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, leaving.set)
        screen.start()
        try:
            await _run(chat, options.conversation, leaving)
        finally:
            await screen.stop()


async def _run(chat: Chat, conversation: str, leaving: asyncio.Event) -> None:
    """Runs until the user leaves, a signal comes, or the server ends the login."""
    connection = asyncio.create_task(chat.connection.run())
    commands = asyncio.create_task(chat.run(conversation))
    signalled = asyncio.create_task(leaving.wait())
    tasks = (connection, commands, signalled)
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if connection not in done:
            # What was typed is sent before we go, if the server lets us; a signal waits less.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_DRAIN_SECONDS if commands in done else _SIGNAL_DRAIN_SECONDS):
                    await chat.connection.leave()
        for task in done:
            await task
        if chat.connection.waiting_count:
            raise LeaveChat(f"{chat.connection.waiting_count} messages were not sent: the server did not answer")
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _terminate(number: int, _frame: object) -> NoReturn:
    sys.exit(128 + number)


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="terminal_chat",
        description="Chat with Parley. The password is asked for, or taken from PARLEY_PASSWORD.",
        epilog="\n".join(["Once in:", *HELP]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_arguments(parser)
    parser.add_argument("--user", default="", help="who you are; asked for when not given")
    parser.add_argument("--register", action="store_true", help="make the account when there is none")
    parser.add_argument("--conversation", default="", help="where to begin, as for /join")
    return parser.parse_args()
