"""A server of one's own: `parley serve` on a free port, in a directory that goes away afterwards."""

import asyncio
import contextlib
import os
import signal
import socket
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import grpc
from grpc import aio
from parley.v1 import chat_service_pb2_grpc, server_info_pb2

from bench.accounts import parley_command

# A connection of its own, past any proxy: the server is on this machine.
_OPTIONS = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]
_START_SECONDS = 60.0
_STOP_SECONDS = 30.0


class ServerFailed(Exception):
    """The server did not get ready; the text is the end of what it printed."""


@dataclass(frozen=True, slots=True)
class ServerPlace:
    """Where a server is.

    Attributes:
        target: host:port.
        environment: what the `parley` command needs to work on the same data.
        data_dir: its data directory; None when not known.
        pid: the supervisor's; None when not known.
    """

    target: str
    environment: dict[str, str]
    data_dir: Path | None = None
    pid: int | None = None


@contextlib.asynccontextmanager
async def private_server(worker_count: int) -> AsyncIterator[ServerPlace]:
    """Starts a server, waits until it answers, and stops it in the end.

    Raises:
        ServerFailed: it ended, or did not answer in time.
    """
    with tempfile.TemporaryDirectory(prefix="parley-private-") as directory:
        data_dir = Path(directory) / "data"
        target = f"127.0.0.1:{_free_port()}"
        environment = {
            "PARLEY_LISTEN": target,
            "PARLEY_DATA_DIR": str(data_dir),
            "PARLEY_WORKERS": str(worker_count),
        }
        log_path = Path(directory) / "server.log"
        with log_path.open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                parley_command(),
                "serve",
                stdout=log,
                stderr=log,
                env={**os.environ, **environment},
                # Ctrl-C at our terminal is for us alone: we stop the server when we are done with it.
                start_new_session=True,
            )
        try:
            await _wait_until_ready(target, process, log_path)
            yield ServerPlace(target, environment, data_dir, process.pid)
        finally:
            await _stop(process)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def _wait_until_ready(target: str, process: asyncio.subprocess.Process, log_path: Path) -> None:
    async with aio.insecure_channel(target, options=_OPTIONS) as channel:
        answer = asyncio.ensure_future(_wait_for_answer(chat_service_pb2_grpc.ChatServiceStub(channel)))
        end = asyncio.ensure_future(process.wait())
        try:
            await asyncio.wait({answer, end}, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done() or answer.exception() is not None:
                raise ServerFailed(_end_of(log_path))
        finally:
            for task in (answer, end):
                task.cancel()
            await asyncio.gather(answer, end, return_exceptions=True)


def _end_of(log_path: Path) -> str:
    return log_path.read_text(errors="replace").strip()[-2000:] or "the server printed nothing"


async def _wait_for_answer(stub: "chat_service_pb2_grpc.ChatServiceAsyncStub") -> None:
    async with asyncio.timeout(_START_SECONDS):
        while True:
            try:
                await stub.GetServerInfo(server_info_pb2.GetServerInfoRequest(), wait_for_ready=True)
            except aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
                await asyncio.sleep(0.1)
            else:
                return


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        await asyncio.wait_for(process.wait(), _STOP_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()
