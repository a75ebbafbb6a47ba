"""What the measurements share: a server with people and conversations in it, and streams that only count.

People are made by SQL and have minted tokens, so that no password is hashed.
"""

import json
import statistics
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import psutil
from parley.v1 import chat_pb2

from service.cli.admin.opening import open_settings
from service.cli.admin.tokens import mint_tokens
from storage.postgres.connections.database import Database
from tests.support.servers import RunningServer, running_server
from tests.support.waiting import wait_until

_CHAT = "/parley.v1.ChatService/Chat"


@dataclass(frozen=True, slots=True)
class Setting:
    """A running server and its database."""

    server: RunningServer
    database: Database

    async def mint(self, usernames: Sequence[str]) -> dict[str, str]:
        """Makes a token for each."""
        settings = open_settings({"data_dir": self.server.data_dir}, None)
        return await mint_tokens(settings, usernames, life_seconds=3600.0, device_id="phone")

    def workers(self) -> list[psutil.Process]:
        """The worker processes."""
        return [
            child
            for child in psutil.Process(self.server.process.pid).children()
            if "parley worker" in " ".join(child.cmdline())
        ]

    def database_processes(self) -> list[psutil.Process]:
        """PostgreSQL's and Valkey's."""
        return [each for each in psutil.process_iter() if _serves(each, self.server.data_dir)]


def _serves(process: psutil.Process, data_dir: Path) -> bool:
    """Whether a process is a database server's on this directory, or one of its children."""
    try:
        return any(
            str(data_dir) in " ".join(each.cmdline()) for each in (process, process.parent()) if each is not None
        )
    except psutil.Error:
        return False


@asynccontextmanager
async def setting(*, workers: int) -> AsyncIterator[Setting]:
    """Starts a server on databases of its own; stops it at the end."""
    with running_server(workers=workers, settings={"PARLEY_LOG_FORMAT": "json"}) as server:
        settings = open_settings({"data_dir": server.data_dir}, None)
        assert settings.database.url is not None
        database = Database(settings.database.url.reveal(), command_timeout_seconds=120.0)
        await database.open()
        try:
            yield Setting(server, database)
        finally:
            await database.close()


async def add_conversations(
    database: Database, conversation_ids: Sequence[str], members: Sequence[str], *, everywhere: str | None = None
) -> None:
    """Makes groups.

    Args:
        members: each group gets all of them when `everywhere` is None, else three of them in turn.
        everywhere: a user who is in each.
    """
    await database.execute(
        """INSERT INTO conversations (conversation_id, kind, creator, member_count)
           SELECT name, 2, '', 4 FROM unnest($1::text[]) AS name""",
        list(conversation_ids),
    )
    if everywhere is None:
        pairs = [(name, member) for name in conversation_ids for member in members]
    else:
        pairs = [(name, everywhere) for name in conversation_ids]
        pairs += [
            (name, members[(3 * nth + k) % len(members)]) for nth, name in enumerate(conversation_ids) for k in range(3)
        ]
    await database.execute(
        """INSERT INTO members (conversation_id, username, role, visible, start_seq, read_seq, read_count)
           SELECT pair.name, pair.username, 2, '{[1,)}', 0, 0, 0
           FROM unnest($1::text[], $2::text[]) AS pair(name, username)""",
        [name for name, _ in pairs],
        [username for _, username in pairs],
    )


async def add_messages(database: Database, conversation_ids: Sequence[str], sender: str, count: int) -> None:
    """Puts so many messages into each conversation, as earlier times would have left them."""
    await database.execute(
        """INSERT INTO messages (conversation_id, seq, kind, sender, request_id, request_hash, create_time,
                                 message_number, size_bytes, text)
           SELECT c.conversation_id, c.last_seq + n, 1, $2, gen_random_uuid()::text, '', clock_timestamp(),
                  c.message_count + n, 150, repeat('x', 100)
           FROM conversations c, generate_series(1, $3::int) AS n WHERE c.conversation_id = ANY ($1)""",
        list(conversation_ids),
        sender,
        count,
    )
    await database.execute(
        """UPDATE conversations SET last_seq = last_seq + $2, message_count = message_count + $2
           WHERE conversation_id = ANY ($1)""",
        list(conversation_ids),
        count,
    )


async def acknowledge(database: Database, username: str, device_id: str) -> None:
    """Lets a device have all there is."""
    await database.execute(
        "INSERT INTO devices (username, device_id) VALUES ($1, $2) ON CONFLICT DO NOTHING", username, device_id
    )
    await database.execute(
        """INSERT INTO cursors (username, device_id, conversation_id, acked_seq, epoch)
           SELECT m.username, $2, m.conversation_id, c.last_seq, 1
           FROM members m JOIN conversations c USING (conversation_id) WHERE m.username = $1
           ON CONFLICT (username, device_id, conversation_id) DO UPDATE SET acked_seq = excluded.acked_seq""",
        username,
        device_id,
    )


class Channels:
    """Connections to a server; a few streams share one."""

    def __init__(self, target: str, *, streams_each: int = 50) -> None:
        self._target = target
        self._streams_each = streams_each
        self._channels: list[grpc.aio.Channel] = []
        self._used = 0

    def open_chat(self, token: str) -> Any:
        """Begins a stream; requests are messages, responses are bytes, which the caller decodes or not."""
        if self._used % self._streams_each == 0:
            options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", 4 * 1024 * 1024)]
            self._channels.append(grpc.aio.insecure_channel(self._target, options=options))
        self._used += 1
        begin = self._channels[-1].stream_stream(
            _CHAT, request_serializer=chat_pb2.ChatRequest.SerializeToString, response_deserializer=None
        )
        return begin(metadata=(("authorization", f"Bearer {token}"),))

    async def close(self) -> None:
        """Hangs up."""
        for channel in self._channels:
            await channel.close()


def counts_of(server: RunningServer) -> list[dict[str, int]]:
    """Stops the server; gives what each worker counted, as it says at its end."""
    server.stop()
    assert server.process.stdout is not None
    wait_until(lambda: server.process.stdout.closed, what="the end of the log")
    lines = [json.loads(line) for line in server.output if line.startswith("{")]
    return [line for line in lines if line["event"] == "stopped"]


def cpu_seconds(processes: Sequence[psutil.Process]) -> float:
    """The processor time that they took so far."""
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def memory_mib(process: psutil.Process) -> float:
    """What a process has in memory."""
    return float(process.memory_info().rss) / 1024**2


def in_words(values: Sequence[float], unit: str = "s") -> str:
    """The median, and all of them."""
    return f"median {statistics.median(values):.2f} {unit} ({' '.join(f'{value:.2f}' for value in values)})"
