"""What happens around a client: connections break, a database goes, an account is disabled, a server is stopped."""

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import asyncpg
import grpc
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from parley.v1 import account_pb2, chat_service_pb2_grpc, server_info_pb2

from conformance.middle import Middle, open_middle
from conformance.stage import Stage, brief_server
from storage.postgres.log.epochs import Epochs
from tests.support.databases import open_database
from tests.support.proxy import Link, Proxy, open_proxy
from tests.support.servers import RunningServer
from tests.support.waiting import wait_for

PASSWORD = "a long enough password"
_WAIT_SECONDS = 30.0
# Below the 30 s after which a session takes silence for a break, and the 60 s for which a replaced server serves on:
# a session that leaves for one of these, and not because it was asked to, is late.
_LEAVE_SECONDS = 15.0


class OperatorFailed(Exception):
    """An act could not be done; the text says why."""


@dataclass(frozen=True, slots=True)
class Brief:
    """A server that a scenario started.

    Attributes:
        proxy: before it; what runners connect to.
        schema: where its data are.
    """

    server: RunningServer
    proxy: Proxy
    schema: str


class Operator:
    """The acts that a step can name; one operator a play.

    Args:
        proxy: between this runner and the main server.
        wire: the same for this scenario's sessions.
    """

    def __init__(self, stage: Stage, proxy: Proxy, wire: Proxy) -> None:
        self._stage = stage
        self._proxy = proxy
        self._wire = wire
        self._stack = contextlib.AsyncExitStack()
        self._brief: Brief | None = None
        self._middle: Middle | None = None
        self._marked: frozenset[Link] = frozenset()
        self._took_database = False
        self._acts: dict[str, Callable[[Mapping[str, Any]], Awaitable[Any]]] = {
            "cut_connections": self._cut_connections,
            "hang_connections": self._hang_connections,
            "lose_answers": self._lose_answers,
            "take_server": self._take_server,
            "give_server": self._give_server,
            "mark_connections": self._mark_connections,
            "expect_marked": self._expect_marked,
            "make_account": self._make_account,
            "start_middle": self._start_middle,
            "end_streams": self._end_streams,
            "lose_answer": self._lose_answer,
            "ask_to_go": self._ask_to_go,
            "expect_gone": self._expect_gone,
            "set_last_seq": self._set_last_seq,
            "make_name": self._make_name,
            "disable_user": self._disable_user,
            "make_token": self._make_token,
            "make_expired_token": self._make_expired_token,
            "take_database": self._take_database,
            "freeze_database": self._freeze_database,
            "give_database": self._give_database,
            "wait_for_database": self._wait_for_database,
            "start_brief": self._start_brief,
            "stop_brief": self._stop_brief,
            "replace_brief": self._replace_brief,
            "restore_brief": self._restore_brief,
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
        if self._took_database:
            self._stage.strict_database.restore()
        await self._stack.aclose()

    def target(self, server: str) -> str:
        """Returns host:port of a server."""
        match server:
            case "main":
                return self._proxy.target
            case "wire":
                return self._wire.target
            case "strict":
                return self._stage.strict.target
            case "newer":
                return self._stage.newer_target
            case "nobody":
                return "127.0.0.1:1"  # nothing listens there
            case "brief" if self._brief is not None:
                return self._brief.proxy.target
            case "brief":
                raise OperatorFailed("start_brief comes first")
            case "middle" if self._middle is not None:
                return self._middle.target
        raise OperatorFailed(f"there is no server {server}")

    def _proxy_of(self, options: Mapping[str, Any]) -> Proxy:
        """Returns the proxy in front of a server; of `main` when none is named."""
        proxies = {"main": self._proxy, "wire": self._wire}
        if self._brief is not None:
            proxies["brief"] = self._brief.proxy
        name = options.get("server", "main")
        if name not in proxies:
            raise OperatorFailed(f"nothing stands before {name}")
        return proxies[name]

    async def _cut_connections(self, options: Mapping[str, Any]) -> None:
        """Resets the runner's connections to a server; new ones are let through."""
        proxy = self._proxy_of(options)
        if not proxy.drop():
            raise OperatorFailed("no connection was open")
        proxy.restore()

    async def _hang_connections(self, options: Mapping[str, Any]) -> None:
        """Lets the connections to a server stay open, and forwards nothing; new ones work."""
        if not self._proxy_of(options).hang():
            raise OperatorFailed("no connection was open")

    async def _lose_answers(self, options: Mapping[str, Any]) -> None:
        """Lets what a server answers get lost, until connections are cut."""
        self._proxy_of(options).swallow_answers()

    async def _take_server(self, options: Mapping[str, Any]) -> None:
        """Resets the connections to a server and lets no new one through."""
        self._proxy_of(options).cut()

    async def _give_server(self, options: Mapping[str, Any]) -> None:
        self._proxy_of(options).restore()

    async def _mark_connections(self, options: Mapping[str, Any]) -> None:
        """Notes the connections to a server that are open."""
        self._marked = frozenset(self._proxy_of(options).links)
        if not self._marked:
            raise OperatorFailed("no connection was open")

    async def _expect_marked(self, options: Mapping[str, Any]) -> None:
        """Checks that a connection that was noted is open."""
        if not self._marked & self._proxy_of(options).links:
            raise OperatorFailed("no connection of before is open")

    async def _start_middle(self, _options: Mapping[str, Any]) -> None:
        """Starts what stands before the main server as Envoy does."""
        self._middle = await self._stack.enter_async_context(open_middle(self._stage.main.target))

    async def _end_streams(self, options: Mapping[str, Any]) -> None:
        """Lets the middle end the streams that are open with a code, without details."""
        assert self._middle is not None
        if not self._middle.end_streams(grpc.StatusCode[options["code"]]):
            raise OperatorFailed("no stream was open")

    async def _lose_answer(self, options: Mapping[str, Any]) -> None:
        """Lets the middle lose the answer to the next call of a method, and end it with a code, without details."""
        assert self._middle is not None
        self._middle.refuse_once(options["method"], grpc.StatusCode[options["code"]])

    async def _ask_to_go(self, options: Mapping[str, Any]) -> None:
        """Lets the middle send a go_away to the streams that are open."""
        assert self._middle is not None
        self._middle.ask_to_go(float(options["seconds"]))

    async def _expect_gone(self, _options: Mapping[str, Any]) -> None:
        """Waits until a client that was asked to go has ended its stream and come back, as docs/clients.md says."""
        middle = self._middle
        assert middle is not None
        try:
            await wait_for(lambda: middle.has_come_back, limit_seconds=_LEAVE_SECONDS, what="the return")
        except AssertionError:
            raise OperatorFailed("a client stays with a server that asked it to go") from None
        if middle.was_early:
            raise OperatorFailed("a client came back before the delay that it was told was over")

    async def _make_account(self, options: Mapping[str, Any]) -> str:
        """Makes an account with the password that `session_open` takes; gives the name."""
        name = f"new-{secrets.token_hex(6)}"
        if options.get("server") == "strict":
            await self._stage.command("strict", "user", "create", name, "--password-stdin", standard_input=PASSWORD)
            return name
        async with aio.insecure_channel(self.target(options.get("server", "main"))) as channel:
            request = account_pb2.RegisterRequest(username=name, password=PASSWORD)
            await chat_service_pb2_grpc.ChatServiceStub(channel).Register(request, timeout=_WAIT_SECONDS)
        return name

    async def _set_last_seq(self, options: Mapping[str, Any]) -> None:
        """Lets a conversation without entries begin above `seq`, as one does whose past was removed."""
        connection = await asyncpg.connect(self._stage.backends.postgres.url)
        try:
            changed = await connection.execute(
                "UPDATE conformance.conversations SET first_seq = $2::bigint + 1, last_seq = $2::bigint"
                " WHERE conversation_id = $1 AND last_seq = 0",
                options["conversation_id"],
                int(options["seq"]),
            )
            await connection.execute(
                "UPDATE conformance.members SET start_seq = $2::bigint, read_seq = $2::bigint"
                " WHERE conversation_id = $1",
                options["conversation_id"],
                int(options["seq"]),
            )
        finally:
            await connection.close()
        if changed != "UPDATE 1":
            raise OperatorFailed("there is no such conversation without entries")

    async def _make_name(self, _options: Mapping[str, Any]) -> str:
        """A user name that nobody has."""
        return f"new-{secrets.token_hex(6)}"

    async def _disable_user(self, options: Mapping[str, Any]) -> None:
        """Shuts an account out, and waits until the main server has heard of it."""
        metadata = (("authorization", f"Bearer {self._stage.token(options['user'])}"),)
        await self._stage.command("conformance", "user", "disable", options["user"])
        async with aio.insecure_channel(self._stage.main.target) as channel:
            stub = chat_service_pb2_grpc.ChatServiceStub(channel)

            async def is_refused() -> bool:
                try:
                    await stub.GetUser(account_pb2.GetUserRequest(), metadata=metadata)
                except aio.AioRpcError as error:
                    if error.code() is grpc.StatusCode.UNAUTHENTICATED:
                        return True
                    raise
                return False

            await wait_for(is_refused, limit_seconds=_WAIT_SECONDS, what="the end of the account")

    async def _make_token(self, options: Mapping[str, Any]) -> str:
        return self._stage.token(options["user"], seconds=options.get("seconds", 3600), scope=options.get("scope", ""))

    async def _make_expired_token(self, options: Mapping[str, Any]) -> str:
        return self._stage.token(options["user"], seconds=60, age_seconds=120)

    async def _take_database(self, _options: Mapping[str, Any]) -> None:
        """Cuts the strict server off from PostgreSQL."""
        self._took_database = True
        self._stage.strict_database.cut()

    async def _freeze_database(self, _options: Mapping[str, Any]) -> None:
        """Lets what PostgreSQL answers the strict server get lost: it does what it is told, and nobody hears of it."""
        self._took_database = True
        self._stage.strict_database.swallow_answers()

    async def _give_database(self, _options: Mapping[str, Any]) -> None:
        self._stage.strict_database.drop()
        self._stage.strict_database.restore()

    async def _wait_for_database(self, _options: Mapping[str, Any]) -> None:
        """Until the strict server says that it serves."""
        async with aio.insecure_channel(self._stage.strict.target) as channel, asyncio.timeout(_WAIT_SECONDS):
            async for answer in health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest()):
                if answer.status == health_pb2.HealthCheckResponse.SERVING:
                    return

    async def _start_brief(self, options: Mapping[str, Any]) -> None:
        """Starts a server on the main one's data, or on its own; its access tokens may have a short life."""
        schema = f"own_{secrets.token_hex(6)}" if options.get("own_data") else "conformance"
        settings = {}
        if "access_token_seconds" in options:
            settings["PARLEY_AUTH_ACCESS_TOKEN_SECONDS"] = str(options["access_token_seconds"])
        if "serving_on_seconds" in options:
            settings["PARLEY_SHUTDOWN_DELAY_SECONDS"] = str(options["serving_on_seconds"])
        server = await self._stack.enter_async_context(brief_server(self._stage, schema, settings))
        proxy = await self._stack.enter_async_context(open_proxy(server.target))
        self._brief = Brief(server, proxy, schema)

    async def _stop_brief(self, _options: Mapping[str, Any]) -> None:
        """Asks the brief server to end; does not wait for it."""
        assert self._brief is not None
        await asyncio.to_thread(self._brief.server.process.terminate)

    async def _replace_brief(self, _options: Mapping[str, Any]) -> None:
        """Takes new connections to another server on the same data, and asks the one before to end: an update.

        Waits until all have left that one, which they must do before it ends their streams.
        """
        assert self._brief is not None
        before = frozenset(self._brief.proxy.links)
        server = await self._stack.enter_async_context(brief_server(self._stage, self._brief.schema, {}))
        self._brief.proxy.redirect(server.target)
        await asyncio.to_thread(self._brief.server.process.terminate)
        proxy = self._brief.proxy
        try:
            await wait_for(lambda: not before & proxy.links, limit_seconds=_LEAVE_SECONDS, what="the clients' leave")
        except AssertionError:
            raise OperatorFailed("a client stays with a server that asked it to go") from None
        self._brief = Brief(server, proxy, self._brief.schema)

    async def _restore_brief(self, options: Mapping[str, Any]) -> None:
        """Sets a conversation of the brief server's own data back to a seq, as a restore would, and says so."""
        assert self._brief is not None
        place = (options["conversation_id"], int(options["seq"]))
        async with open_database(self._stage.backends.postgres.url, self._brief.schema) as database:
            for statement in (
                "DELETE FROM messages WHERE conversation_id = $1 AND seq > $2",
                "UPDATE conversations SET last_seq = $2 WHERE conversation_id = $1",
            ):
                await database.execute(statement, *place)
            epoch = await Epochs(database).begin_epoch()
            # From here on the server's own writes of the earlier epoch are void, so none undoes what is set back.
            for statement in (
                "UPDATE cursors SET acked_seq = least(acked_seq, $2) WHERE conversation_id = $1",
                "UPDATE members SET read_seq = least(read_seq, $2) WHERE conversation_id = $1",
            ):
                await database.execute(statement, *place)
        async with aio.insecure_channel(self._brief.server.target) as channel:
            stub = chat_service_pb2_grpc.ChatServiceStub(channel)

            async def is_known() -> bool:
                request = server_info_pb2.GetServerInfoRequest()
                try:
                    answer = await stub.GetServerInfo(request, timeout=_WAIT_SECONDS, wait_for_ready=True)
                except aio.AioRpcError as error:
                    if error.code() not in (grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE):
                        raise
                    return False  # the worker that ends for the new epoch had the call
                return bool(answer.epoch == epoch)

            await wait_for(is_known, limit_seconds=_WAIT_SECONDS, what="the epoch")
