"""Who is chatting: logs in or registers, and keeps the tokens fresh."""

import asyncio
import getpass
import os
import time
import uuid
from dataclasses import dataclass
from typing import Any

import grpc
from grpc import aio
from parley.v1 import account_pb2

from terminal_chat.endings import Pauses
from terminal_chat.errors import LeaveChat, NoSuchLogin, explain, to_refusal

CALL_SECONDS = 10.0
_REFRESH_BEFORE_SECONDS = 60.0
# The clocks may be set, and this machine may sleep, while we wait.
_LOOK_SECONDS = 15.0
_ANSWERED = account_pb2.LoginResponse | account_pb2.RegisterResponse | account_pb2.RefreshTokenResponse


class Login:
    """A login's tokens.

    Attributes:
        username: the account's.
        access_token: for the metadata of calls.
        device_id: names this machine; positions are kept by it.
    """

    def __init__(self, stub: Any, answer: _ANSWERED) -> None:
        self._stub = stub
        self._refreshing = asyncio.Lock()
        self._server_ahead_seconds = 0.0
        self.username = answer.user.username
        self.device_id = answer.device_id
        self._take(answer)

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What each call needs."""
        return (("authorization", f"Bearer {self.access_token}"),)

    def note_server_time(self, server_time: float) -> None:
        """Takes the server's clock (Unix seconds): tokens end by that one."""
        self._server_ahead_seconds = server_time - time.time()

    async def wait_until_stale(self) -> None:
        """Returns a minute before the access token ends, or half-way for very short ones; after a second at least."""
        begin = time.time()
        while True:
            life_seconds = self._expire_time - self._server_ahead_seconds - begin
            due_time = begin + max(1.0, life_seconds - _REFRESH_BEFORE_SECONDS, life_seconds / 2)
            if (left_seconds := due_time - time.time()) <= 0:
                return
            await asyncio.sleep(min(left_seconds, _LOOK_SECONDS))

    async def refresh(self, stale_token: str) -> None:
        """Gets the next pair of tokens, whatever it takes, unless that was done since this one was in force.

        Raises:
            LeaveChat: the login has ended.
        """
        pauses = Pauses()
        async with self._refreshing:
            while self.access_token == stale_token:
                try:
                    self._take(await self._stub.RefreshToken(self._renewal, timeout=CALL_SECONDS))
                except aio.AioRpcError as error:
                    refusal = to_refusal(error)
                    if refusal.code is grpc.StatusCode.UNAUTHENTICATED:
                        raise LeaveChat("your login has ended; start again to log in") from error
                    if not refusal.is_passing:
                        raise LeaveChat(refusal.message) from error
                    await asyncio.sleep(pauses.next(refusal.retry_seconds))

    def _take(self, answer: _ANSWERED) -> None:
        self.access_token = answer.access_token
        self._expire_time = answer.access_expire_time.ToMicroseconds() / 1e6
        # One id for all attempts to spend this refresh token, also when one of them is given up in the middle: the
        # answer may get lost, and a second use with another id ends the login.
        self._renewal = account_pb2.RefreshTokenRequest(refresh_token=answer.refresh_token, request_id=uuid.uuid4().hex)


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a person logs in with."""

    username: str
    password: str


def ask_credentials(username: str, *, is_interactive: bool) -> Credentials:
    """Asks for what is missing; the password may be in PARLEY_PASSWORD.

    Raises:
        LeaveChat: there is nobody to ask.
    """
    if not username:
        if not is_interactive:
            raise LeaveChat("say who you are with --user NAME")
        username = input("user name: ").strip()
    password = os.environ.get("PARLEY_PASSWORD", "")
    if not password:
        if not is_interactive:
            raise LeaveChat("put the password into PARLEY_PASSWORD")
        password = getpass.getpass("password: ")
    return Credentials(username, password)


async def log_in(stub: Any, who: Credentials, *, may_register: bool) -> Login:
    """Logs in, or makes the account where that is allowed and there is none.

    Raises:
        NoSuchLogin: no account has this name and password, and none may be made.
        LeaveChat: it is not possible.
    """
    device_id = f"terminal-{uuid.getnode():012x}"
    try:
        asked = account_pb2.LoginRequest(username=who.username, password=who.password, device_id=device_id)
        return Login(stub, await stub.Login(asked, timeout=CALL_SECONDS))
    except aio.AioRpcError as error:
        if to_refusal(error).reason != "BAD_CREDENTIALS":
            raise LeaveChat(explain(error)) from error
        if not may_register:
            raise NoSuchLogin(f"{explain(error)} (--register makes a new account)") from error
    try:
        wanted = account_pb2.RegisterRequest(username=who.username, password=who.password, device_id=device_id)
        return Login(stub, await stub.Register(wanted, timeout=CALL_SECONDS))
    except aio.AioRpcError as error:
        is_taken = to_refusal(error).reason == "USERNAME_TAKEN"
        raise LeaveChat("wrong password" if is_taken else explain(error)) from error
