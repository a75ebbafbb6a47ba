"""The servers that runners are held against, on one PostgreSQL and one Valkey of their own.

`main` as it comes, through a proxy for each language so that its connections can be cut; `strict` with low limits, no
registration, and a database that can be taken away; `newer` of a newer contract. A `brief` one is started for a
scenario that ends it. All accept the same tokens.
"""

import asyncio
import contextlib
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from conformance.newer_server import newer_server
from service.auth.keys import ensure_keys_file, load_keys
from service.auth.signer import TokenSigner
from tests.support.databases import Backends, running_backends
from tests.support.proxy import Proxy, open_proxy
from tests.support.servers import START_SECONDS, RunningServer, is_ready, start_server
from tests.support.waiting import wait_for

# Small enough to reach, and the same for all languages: each scenario has users of its own.
STRICT = {
    "PARLEY_AUTH_REGISTRATION": "closed",
    "PARLEY_AUTH_ATTEMPTS_PER_MINUTE": "1",
    "PARLEY_LIMITS_MAX_MEMBERS": "3",
    "PARLEY_LIMITS_MAX_DEVICES": "2",
    "PARLEY_LIMITS_MAX_STREAMS_PER_USER": "2",
    "PARLEY_LIMITS_MAX_STREAMS": "3",
    "PARLEY_DATABASE_TIMEOUT_SECONDS": "1",
}
_TOKEN_SECONDS = 3600.0


@dataclass(slots=True)
class Stage:
    """What is running.

    Attributes:
        directory: for the data of each server.
        main: host:port, without a proxy.
        strict_database: between the strict server and its PostgreSQL.
        strict_turn: held by the scenario that has the strict server.
    """

    directory: Path
    backends: Backends
    signer: TokenSigner
    main: RunningServer
    strict: RunningServer
    strict_database: Proxy
    newer_target: str
    strict_turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    def token(self, username: str, *, seconds: float = _TOKEN_SECONDS, scope: str = "", age_seconds: float = 0) -> str:
        """Mints a token as `parley token` does; with an age, as it did then."""
        return self.signer.mint(
            username,
            login_id=secrets.token_hex(8),
            now=time.time() - age_seconds,
            life_seconds=seconds,
            scopes=[scope] if scope else [],
        ).text

    async def make_users(self, usernames: Sequence[str]) -> None:
        """Makes accounts on the main and on the strict server; none where no scenario has users."""
        if not usernames:
            return
        for schema in ("conformance", "strict"):
            await self.command(schema, "user", "create", "--stdin", standard_input="\n".join(usernames))

    async def command(self, schema: str, *arguments: str, standard_input: str = "") -> None:
        """Runs the `parley` command on the data of a server."""
        environment = _environment() | self.settings(schema) | {"PARLEY_DATA_DIR": str(self.directory / schema)}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "service", *arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env=environment,
        )
        await process.communicate(standard_input.encode())
        if process.returncode:
            raise RuntimeError(f"parley {' '.join(arguments)} ended with {process.returncode}")

    def settings(self, schema: str) -> dict[str, str]:
        """What a server on these backends needs."""
        return _settings(self.backends, self.directory, schema)


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PARLEY_")}


def _settings(backends: Backends, directory: Path, schema: str) -> dict[str, str]:
    return {
        "PARLEY_DATABASE_URL": backends.postgres.url,
        "PARLEY_DATABASE_SCHEMA": schema,
        "PARLEY_REDIS_URL": backends.valkey.url,
        "PARLEY_AUTH_KEYS_FILE": str(directory / "keys.json"),
    }


@contextlib.asynccontextmanager
async def open_stage() -> AsyncIterator[Stage]:
    """Starts everything, and stops it in the end."""
    directory = Path(tempfile.mkdtemp(prefix="parley-conformance-"))
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        backends = stack.enter_context(running_backends())
        ensure_keys_file(directory / "keys.json")
        signer = TokenSigner(
            load_keys(directory / "keys.json"), issuer="parley", audience="parley", life_seconds=_TOKEN_SECONDS
        )
        database = await stack.enter_async_context(open_proxy(str(backends.postgres.socket_path)))
        through_proxy = f"postgresql://postgres@{database.target}/postgres?sslmode=disable"
        strict = STRICT | {"PARLEY_DATABASE_URL": through_proxy}
        servers = [
            await _start(stack, directory, _settings(backends, directory, schema) | settings, schema)
            for schema, settings in (("conformance", {}), ("strict", strict))
        ]
        newer_target = await stack.enter_async_context(newer_server())
        yield Stage(directory, backends, signer, servers[0], servers[1], database, newer_target)


async def _start(
    stack: contextlib.AsyncExitStack, directory: Path, settings: dict[str, str], schema: str
) -> RunningServer:
    server = start_server(directory / schema, settings=settings)

    async def stop(*_: object) -> None:
        await asyncio.to_thread(server.stop)

    stack.push_async_exit(stop)
    await wait_for(lambda: is_ready(server), limit_seconds=START_SECONDS, what="ready")
    return server


@contextlib.asynccontextmanager
async def brief_server(stage: Stage, schema: str, settings: Mapping[str, str]) -> AsyncIterator[RunningServer]:
    """A server on the data in a schema that a scenario may stop; with further settings."""
    async with contextlib.AsyncExitStack() as stack:
        name = f"brief-{secrets.token_hex(3)}"
        yield await _start(stack, stage.directory, stage.settings(schema) | settings, name)
