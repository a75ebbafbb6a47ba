"""Unary calls, repeated when they may be: docs/clients.md, "Unary calls".

Every request that comes here reads only, or has a request_id, which stays the same; so it does not matter whether an
attempt took effect before its answer got lost.
"""

import asyncio
import time
from typing import Any

import grpc
from grpc import aio

from terminal_chat.endings import Pauses
from terminal_chat.errors import to_refusal
from terminal_chat.login import CALL_SECONDS, Login

# A person waits for it.
_PATIENCE_SECONDS = 3.0


async def call_patiently(method: Any, request: Any, login: Login) -> Any:
    """Calls, and calls again what was refused for now, for three seconds; a token that ended is replaced once.

    Raises:
        AioRpcError: the server refused, or could not be reached.
    """
    pauses = Pauses()
    deadline = time.monotonic() + _PATIENCE_SECONDS
    may_refresh = True
    while True:
        token = login.access_token
        try:
            return await method(request, metadata=login.metadata, timeout=CALL_SECONDS)
        except aio.AioRpcError as error:
            refusal = to_refusal(error)
            if refusal.code is grpc.StatusCode.UNAUTHENTICATED and may_refresh:
                may_refresh = False
                await login.refresh(token)
                continue
            wait_seconds = pauses.next(refusal.retry_seconds)
            if not refusal.is_passing or time.monotonic() + wait_seconds > deadline:
                raise
        await asyncio.sleep(wait_seconds)
