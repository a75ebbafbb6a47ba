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

from terminal_chat.errors import LeaveChat, NoSuchLogin, explain, reason_of

CALL_SECONDS = 10.0
_REFRESH_BEFORE_SECONDS = 60.0
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
        self.username = answer.user.username
        self.device_id = answer.device_id
        self._take(answer)

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What each call needs."""
        return (("authorization", f"Bearer {self.access_token}"),)

    async def wait_until_stale(self) -> None:
        """Returns shortly before the access token ends; half-way for very short ones."""
        left = self._expire_time - time.time()
        await asyncio.sleep(max(1.0, left - _REFRESH_BEFORE_SECONDS, left / 2))

    async def refresh(self) -> None:
        """Gets the next pair of tokens, whatever it takes.

        Raises:
            LeaveChat: the login has ended.
        """
        # One id for all attempts: an answer may get lost, and the token must not be spent twice.
        request = account_pb2.RefreshTokenRequest(refresh_token=self._refresh_token, request_id=uuid.uuid4().hex)
        while True:
            try:
                self._take(await self._stub.RefreshToken(request, timeout=CALL_SECONDS))
            except aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.UNAUTHENTICATED:
                    raise LeaveChat("your login has ended; start again to log in") from error
                await asyncio.sleep(2.0)
            else:
                return

    def _take(self, answer: _ANSWERED) -> None:
        self.access_token = answer.access_token
        self._refresh_token = answer.refresh_token
        self._expire_time = answer.access_expire_time.ToMicroseconds() / 1e6


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
        if reason_of(error) != "BAD_CREDENTIALS":
            raise LeaveChat(explain(error)) from error
        if not may_register:
            raise NoSuchLogin(f"{explain(error)} (--register makes a new account)") from error
    try:
        wanted = account_pb2.RegisterRequest(username=who.username, password=who.password, device_id=device_id)
        return Login(stub, await stub.Register(wanted, timeout=CALL_SECONDS))
    except aio.AioRpcError as error:
        is_taken = reason_of(error) == "USERNAME_TAKEN"
        raise LeaveChat("wrong password" if is_taken else explain(error)) from error
