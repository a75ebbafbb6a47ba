"""What happens around a client that the client does not do: connections break, a database goes, an account is disabled."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import asyncpg

from tests.conformance.stage import Stage, brief_server
from tests.support.proxy import Proxy
from tests.support.servers import RunningServer


class OperatorFailed(Exception):
    """An act could not be done; the text says why."""


class Operator:
    """The acts that a step can name; one operator a play.

    Args:
        proxy: between this runner and the main server.
    """

    def __init__(self, stage: Stage, proxy: Proxy) -> None:
        self._stage = stage
        self._proxy = proxy
        self._stack = contextlib.AsyncExitStack()
        self._brief: RunningServer | None = None
        self._acts: dict[str, Callable[[Mapping[str, Any]], Awaitable[Any]]] = {
            "cut_connections": self._cut_connections,
            "set_last_seq": self._set_last_seq,
            "disable_user": self._disable_user,
            "make_token": self._make_token,
            "make_expired_token": self._make_expired_token,
            "take_database": self._take_database,
            "freeze_database": self._freeze_database,
            "give_database": self._give_database,
            "start_brief": self._start_brief,
            "stop_brief": self._stop_brief,
        }

    async def act(self, name: str, options: Mapping[str, Any]) -> Any:
        """Does something; gives what `save` keeps.

        Raises:
            OperatorFailed: there is no such act, or it could not be done.
        """
        if name not in self._acts:
            raise OperatorFailed(f"there is no act {name}")
        return await self._acts[name](options)

    async def close(self) -> None:
        """Undoes what is left of its acts."""
        self._stage.strict_database.restore()
        await self._stack.aclose()

    def target(self, server: str) -> str:
        """Gives host:port of a server."""
        if server == "brief":
            if self._brief is None:
                raise OperatorFailed("start_brief comes first")
            return self._brief.target
        targets = {
            "main": self._proxy.target,
            "strict": self._stage.strict.target,
            "newer": self._stage.newer_target,
            "nobody": "127.0.0.1:1",  # nothing listens there
        }
        return targets[server]

    async def _cut_connections(self, _options: Mapping[str, Any]) -> None:
        """Resets the runner's connections to the main server; new ones are let through."""
        if not self._proxy.drop():
            raise OperatorFailed("no connection was open")

    async def _set_last_seq(self, options: Mapping[str, Any]) -> None:
        """Lets a conversation without entries begin above `seq`, as one does whose past was removed."""
        connection = await asyncpg.connect(self._stage.backends.postgres.url)
        try:
            changed = await connection.execute(
                "UPDATE conformance.conversations SET first_seq = $2 + 1, last_seq = $2"
                " WHERE conversation_id = $1 AND last_seq = 0",
                options["conversation_id"],
                int(options["seq"]),
            )
            await connection.execute(
                "UPDATE conformance.members SET start_seq = $2, read_seq = $2 WHERE conversation_id = $1",
                options["conversation_id"],
                int(options["seq"]),
            )
        finally:
            await connection.close()
        if changed != "UPDATE 1":
            raise OperatorFailed("there is no such conversation without entries")

    async def _disable_user(self, options: Mapping[str, Any]) -> None:
        await self._stage.command("conformance", "user", "disable", options["user"])

    async def _make_token(self, options: Mapping[str, Any]) -> str:
        return self._stage.token(options["user"], seconds=options.get("seconds", 3600), scope=options.get("scope", ""))

    async def _make_expired_token(self, options: Mapping[str, Any]) -> str:
        return self._stage.token(options["user"], seconds=60, age_seconds=120)

    async def _take_database(self, _options: Mapping[str, Any]) -> None:
        """Cuts the strict server off from PostgreSQL."""
        self._stage.strict_database.cut()

    async def _freeze_database(self, _options: Mapping[str, Any]) -> None:
        """Lets what PostgreSQL answers the strict server get lost: it does what it is told, and nobody hears of it."""
        self._stage.strict_database.swallow_answers()

    async def _give_database(self, _options: Mapping[str, Any]) -> None:
        self._stage.strict_database.drop()
        self._stage.strict_database.restore()

    async def _start_brief(self, _options: Mapping[str, Any]) -> None:
        self._brief = await self._stack.enter_async_context(brief_server(self._stage))

    async def _stop_brief(self, _options: Mapping[str, Any]) -> None:
        """Asks the brief server to end; does not wait for it."""
        assert self._brief is not None
        await asyncio.to_thread(self._brief.process.terminate)
