"""A TCP proxy of our own that does to connections what networks do: cuts, stalls, delays, swallows. One event loop.

Upstream is host:port or the path of a Unix socket. What is set counts for all connections from then on, those that are
open included.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

_CHUNK_BYTES = 64 * 1024


@dataclass(slots=True, eq=False)
class Link:
    """One proxied connection.

    Attributes:
        upstream_port: our port of the connection to upstream, which names it there; 0: a Unix socket.
        sent: the first bytes that the client sent, by which kinds of connections can be told apart.
        forwarded_bytes: what went to the client so far.
    """

    client: asyncio.StreamWriter
    upstream: asyncio.StreamWriter
    upstream_port: int
    sent: bytes = b""
    forwarded_bytes: int = 0

    def abort(self) -> None:
        """Resets both sides at once; what is on the way is lost."""
        self.client.transport.abort()
        self.upstream.transport.abort()


class Proxy:
    """Forwards connections from a port of its own.

    Attributes:
        target: host:port to connect to.
        delay_seconds: how long each piece is held, in each direction.
        links: the connections that are open.
        tasks: what serves them.
        swallowed_bytes: what was thrown away, in both directions.
    """

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._is_open = True
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._swallow: Callable[[Link, bytes], bool] | None = None
        self._swallows_answers = False
        self._hung: set[Link] = set()
        self._cut_after_bytes: int | None = None
        self.target = ""
        self.delay_seconds = 0.0
        self.links: set[Link] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.swallowed_bytes = 0

    @property
    def port(self) -> int:
        """The port of `target`."""
        return int(self.target.rpartition(":")[2])

    def drop(self, which: Callable[[Link], bool] = lambda _: True) -> int:
        """Resets the open connections that are meant; new ones are let through. Gives how many there were."""
        chosen = [link for link in self.links if which(link)]
        for link in chosen:
            link.abort()
        return len(chosen)

    def cut(self) -> None:
        """Resets all connections and lets no new one through."""
        self._is_open = False
        self.drop()

    def restore(self) -> None:
        """Undoes `cut`, `stall` and both kinds of swallowing."""
        self._is_open = True
        self._swallow = None
        self._swallows_answers = False
        self._flowing.set()

    def stall(self) -> None:
        """Forwards nothing any more, and closes nothing: a host that vanished."""
        self._flowing.clear()

    def hang(self) -> int:
        """Forwards nothing more on the open connections, and does not close them; new ones work. Gives how many."""
        self._hung |= self.links
        return len(self._hung)

    def redirect(self, upstream: str) -> None:
        """Takes new connections to another upstream; those that are open stay."""
        self._upstream = upstream

    def swallow(self, which: Callable[[Link, bytes], bool]) -> None:
        """Throws away what clients send where `which(link, data)`; their connections stay open."""
        self._swallow = which

    def swallow_answers(self) -> None:
        """Throws away what comes from upstream; connections stay open."""
        self._swallows_answers = True

    def cut_after(self, size_bytes: int) -> None:
        """Resets each connection when this much more went to its client: in the middle of a frame, most likely."""
        for link in self.links:
            link.forwarded_bytes = 0
        self._cut_after_bytes = size_bytes

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Takes one connection."""
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        if not self._is_open:
            writer.transport.abort()
            return
        try:
            there_reader, there_writer = await self._connect()
        except OSError:
            writer.transport.abort()
            return
        name = there_writer.get_extra_info("sockname")
        link = Link(writer, there_writer, name[1] if isinstance(name, tuple) else 0)
        self.links.add(link)
        try:
            await asyncio.gather(
                self._copy(link, reader, there_writer, is_to_client=False),
                self._copy(link, there_reader, writer, is_to_client=True),
            )
        finally:
            link.abort()
            for end in (link.client, link.upstream):
                with contextlib.suppress(OSError):
                    await end.wait_closed()
            self.links.discard(link)
            self._hung.discard(link)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._upstream.startswith("/"):
            return await asyncio.open_unix_connection(self._upstream)
        host, _, port = self._upstream.rpartition(":")
        return await asyncio.open_connection(host, int(port))

    async def _copy(
        self, link: Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_to_client: bool
    ) -> None:
        """Forwards one direction until the sender closes or resets it; then the receiver sees an end, too.

        On a hung connection neither side sees that the other side has gone.
        """
        try:
            await self._forward(link, reader, writer, is_to_client=is_to_client)
        except OSError:
            if link not in self._hung:
                link.abort()
        else:
            if link not in self._hung:
                writer.close()

    async def _forward(
        self, link: Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_to_client: bool
    ) -> None:
        """Forwards one direction until the sender closes it.

        Raises:
            OSError: one of the two connections was reset.
        """
        while data := await reader.read(_CHUNK_BYTES):
            if self.delay_seconds:
                await asyncio.sleep(self.delay_seconds)
            await self._flowing.wait()
            if link in self._hung:
                self.swallowed_bytes += len(data)
                continue
            if not is_to_client:
                link.sent = (link.sent + data)[:_CHUNK_BYTES]
                if self._swallow is not None and self._swallow(link, data):
                    self.swallowed_bytes += len(data)
                    continue
            elif self._swallows_answers:
                self.swallowed_bytes += len(data)
                continue
            elif self._cut_after_bytes is not None:
                link.forwarded_bytes += len(data)
                if link.forwarded_bytes > self._cut_after_bytes:
                    writer.write(data[: -(link.forwarded_bytes - self._cut_after_bytes)])
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(writer.drain(), 1)
                    self._cut_after_bytes = None
                    link.abort()
                    return
            writer.write(data)
            await writer.drain()


@contextlib.asynccontextmanager
async def open_proxy(upstream: str) -> AsyncIterator[Proxy]:
    """A proxy to host:port or a Unix socket, closed in the end."""
    proxy = Proxy(upstream)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.target = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()
        proxy.cut()
        proxy.restore()
        await server.wait_closed()
        await asyncio.gather(*proxy.tasks)
