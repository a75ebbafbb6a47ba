"""What a server asks of PostgreSQL, read off the wire by a proxy in between: every statement, in order.

https://www.postgresql.org/docs/current/protocol-message-formats.html
"""

import asyncio
import re
import struct
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from tests.support.databases import Backends, fresh_schema
from tests.support.proxy import Link, Proxy, open_proxy
from tests.support.scrapes import ON
from tests.support.servers import RunningServer, running_server

# What workers do every so often whether anything happens or not: service/worker/composition/background.py.
_BACKGROUND = re.compile(
    r"""^SELECT\ 1$ | commit_feed\ f\ ON | pg_snapshot_xmin | DELETE\ FROM\ commit_feed | revocations | login_id
      | SELECT\ epoch | SELECT\ deployment_id | FROM\ pg_database | content_changes
      | INTO\ workers | FROM\ workers | open_streams | username,\ membership_version | fail_overdue
      | LIST_ORPHANED | d\.owner\ <>\ 0 | pg_sequence_last_value | DELETE\ FROM\ (deliveries|dead_letters|users)
      | pg_is_in_recovery | pg_control | pg_catalog | set_config | ^SET\ lock_timeout | known\.version
      | FROM\ erasures | FROM\ upkeep""",
    re.VERBOSE,
)


@dataclass(slots=True)
class _Dialogue:
    """One connection: what is left of the last piece, and which text each prepared statement and portal has.

    Attributes:
        begin: the statement that began a transaction of which nothing else was seen yet.
        is_in_background: whether the transaction that is open is one of those that come whether anything happens or
            not; its first statement tells.
    """

    rest: bytes = b""
    begin: str = ""
    is_in_background: bool = False
    has_begun: bool = False
    statements: dict[bytes, str] = field(default_factory=dict)
    portals: dict[bytes, str] = field(default_factory=dict)


class Statements:
    """All statements that were sent through the proxy so far.

    Attributes:
        proxy: what they went through.
        texts: their texts, in order; without those that are sent whether anything happens or not.
    """

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self.texts: list[str] = []
        self._dialogues: dict[Link, _Dialogue] = {}
        self.listen()

    def listen(self) -> None:
        """Looks at what goes through the proxy; again after its `restore`."""
        self.proxy.swallow(self._see)

    @contextmanager
    def counted(self) -> "Iterator[Counter[str]]":
        """Counts the statements of the block by their first words; filled in when it has ended."""
        begin = len(self.texts)
        found: Counter[str] = Counter()
        yield found
        found.update(" ".join(text.split())[:60] for text in self.texts[begin:])

    def _see(self, link: Link, data: bytes) -> bool:
        """Reads what a client sends; swallows nothing."""
        dialogue = self._dialogues.setdefault(link, _Dialogue())
        dialogue.rest += data
        while message := _take(dialogue):
            if text := _executed(dialogue, *message):
                self.texts += _of_calls(dialogue, text)
        return False


def _of_calls(dialogue: _Dialogue, text: str) -> list[str]:
    """The statements that are known, with this one, to come of what clients do."""
    if text.startswith("BEGIN"):
        dialogue.begin = text
        return []
    begin, dialogue.begin = dialogue.begin, ""
    if dialogue.is_in_background:
        dialogue.is_in_background = not text.startswith(("COMMIT", "ROLLBACK"))
        return []
    if _BACKGROUND.search(text):
        dialogue.is_in_background = bool(begin)
        return []
    return [begin, text] if begin else [text]


def _take(dialogue: _Dialogue) -> tuple[bytes, bytes] | None:
    """Takes the next whole message: its type and its body. The first ones have no type."""
    head = 1 if dialogue.has_begun else 0
    if len(dialogue.rest) < head + 4:
        return None
    (size,) = struct.unpack_from("!I", dialogue.rest, head)
    if len(dialogue.rest) < head + size:
        return None
    kind, body = dialogue.rest[:head], dialogue.rest[head + 4 : head + size]
    dialogue.rest = dialogue.rest[head + size :]
    if not dialogue.has_begun:
        dialogue.has_begun = struct.unpack_from("!I", body) == (196608,)  # else it asks for TLS first
    return kind, body


def _executed(dialogue: _Dialogue, kind: bytes, body: bytes) -> str | None:
    """The text of the statement that a message has run; None where it runs none."""
    match kind:
        case b"Q":
            return body[:-1].decode()
        case b"P":
            name, text, _ = body.split(b"\0", 2)
            dialogue.statements[name] = text.decode()
        case b"B":
            portal, name, _ = body.split(b"\0", 2)
            dialogue.portals[portal] = dialogue.statements[name]
        case b"E":
            return dialogue.portals[body.split(b"\0", 1)[0]]
    return None


@asynccontextmanager
async def watched_server(
    backends: Backends, *, workers: int = 1, lanes: int = 1
) -> "AsyncIterator[tuple[RunningServer, Statements, str]]":
    """Starts a server whose statements are seen, with metrics; gives it, the statements, and its schema's name."""
    async with fresh_schema(backends.postgres.url) as schema, open_proxy(str(backends.postgres.socket_path)) as proxy:
        statements = Statements(proxy)
        settings = ON | {
            "PARLEY_DATABASE_URL": f"postgresql://postgres@{proxy.target}/postgres?sslmode=disable",
            "PARLEY_DATABASE_SCHEMA": schema,
            "PARLEY_REDIS_URL": backends.valkey.url,
            "PARLEY_DATABASE_LANES": str(lanes),
            "PARLEY_DATABASE_TIMEOUT_SECONDS": "30",  # a statement that a test holds up is not to be sent again
        }
        starting = running_server(workers=workers, settings=settings)
        server = await asyncio.to_thread(starting.__enter__)
        try:
            yield server, statements, schema
        finally:
            await asyncio.to_thread(starting.__exit__, None, None, None)
