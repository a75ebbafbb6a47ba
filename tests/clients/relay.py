"""A way to the server that a test can cut and open again."""

import asyncio
import contextlib
from collections.abc import AsyncIterator


class Relay:
    """Forwards connections from a port of its own; `cut` breaks them and lets no new one through."""

    def __init__(self, target: str) -> None:
        self._host, _, port = target.rpartition(":")
        self._port = int(port)
        self._is_open = True
        self._writers: set[asyncio.StreamWriter] = set()
        self.target = ""

    def cut(self) -> None:
        self._is_open = False
        for writer in self._writers:
            writer.transport.abort()

    def restore(self) -> None:
        self._is_open = True

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._is_open:
            writer.transport.abort()
            return
        there_reader, there_writer = await asyncio.open_connection(self._host, self._port)
        ends = {writer, there_writer}
        self._writers |= ends
        try:
            await asyncio.gather(_copy(reader, there_writer), _copy(there_reader, writer))
        finally:
            self._writers -= ends
            for end in ends:
                end.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def open_relay(target: str) -> AsyncIterator[Relay]:
    """A relay to host:port, closed in the end."""
    relay = Relay(target)
    server = await asyncio.start_server(relay.serve, "127.0.0.1", 0)
    relay.target = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield relay
    finally:
        server.close()
        relay.cut()
        await server.wait_closed()
