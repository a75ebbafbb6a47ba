"""Why a connection can't be made: what is said, and whether it is worth waiting. TLS is in tests/services."""

import socket
from collections.abc import Iterator

import pytest

from storage.errors import Lasting, Unavailable
from storage.postgres.connections.primary import Primary
from tests.support.tcp_node import TcpNode, running_tcp_node
from tests.support.waiting import wait_for

PASSWORD = "hunter%402"


@pytest.fixture(scope="module")
def node() -> Iterator[TcpNode]:
    """A server with a role of each kind; tests restart it as they need."""
    with running_tcp_node() as running:
        running.sql("CREATE ROLE app LOGIN PASSWORD 'hunter@2'")
        running.sql("CREATE DATABASE app OWNER app")
        yield running


def url_of(node: TcpNode, query: str = "", *, user: str = f"app:{PASSWORD}", host: str = "127.0.0.1") -> str:
    return f"postgresql://{user}@{host}:{node.port}/app?{query}"


async def fault(url: str) -> Unavailable:
    """What a connection fails with; it never shows the password."""
    with pytest.raises(Unavailable) as error:
        await Primary(url).connect()
    assert "hunter" not in str(error.value)
    assert "\n" not in str(error.value)
    return error.value


async def connects(url: str) -> bool:
    """Connects; says whether the connection has TLS."""
    connection = await Primary(url).connect()
    try:
        return bool(await connection.fetchval("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"))
    finally:
        connection.terminate()


async def test_password_that_is_wrong_or_missing_is_lasting(node: TcpNode, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PGPASSFILE", "/nowhere")
    node.restart("host all all 127.0.0.1/32 scram-sha-256")
    assert not await connects(url_of(node))
    wrong = await fault(url_of(node, user="app:hunter"))
    assert isinstance(wrong, Lasting)
    assert str(wrong) == 'the password of the role "app" is refused'
    missing = await fault(url_of(node, user="app"))
    assert isinstance(missing, Lasting)
    assert "password" in str(missing)


async def test_server_without_tls_is_lasting_where_tls_is_asked_for_alone(node: TcpNode):
    node.restart("host all all 127.0.0.1/32 scram-sha-256")
    for mode in ("disable", "allow", "prefer"):
        assert not await connects(url_of(node, f"sslmode={mode}"))
    refused = await fault(url_of(node, "sslmode=require"))
    assert isinstance(refused, Lasting)
    assert str(refused) == "the server takes no TLS, and sslmode=require asks for it"


async def test_what_passes_is_worth_waiting(node: TcpNode):
    node.restart("host all all 127.0.0.1/32 trust", "max_connections=4", "superuser_reserved_connections=0")
    taken = [await Primary(url_of(node)).connect() for _ in range(4)]
    full = await fault(url_of(node))
    for connection in taken:
        connection.terminate()
    assert "raise max_connections" in str(full)

    async def has_room() -> bool:
        try:
            return not await connects(url_of(node))
        except Unavailable:
            return False

    await wait_for(has_room, what="room")
    node.freeze()
    try:
        hung = await fault(url_of(node, "connect_timeout=1"))
    finally:
        node.thaw()
    node.kill()
    closed = await fault(url_of(node))
    unknown = await fault("postgresql://app@nowhere.invalid/app")
    assert [str(hung), str(closed).split(" (")[0]] == ["no answer within 1 s", "nothing listens there"]
    assert str(unknown).startswith("the name of the host is not found")
    assert not [error for error in (full, hung, closed, unknown) if isinstance(error, Lasting)]
    node.start()


async def test_idle_connections_are_kept_alive_as_the_url_has_it(node: TcpNode):
    node.restart("host all all 127.0.0.1/32 trust")

    async def options(query: str) -> tuple[int, int, int]:
        connection = await Primary(url_of(node, query)).connect()
        try:
            found = connection.get_socket()
            return (
                found.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
                found.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
                found.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT),
            )
        finally:
            connection.terminate()

    usual = (await options(""))[1]
    assert await options("keepalives_idle=77&tcp_user_timeout=9000") == (1, 77, 9000)
    assert await options("keepalives=0") == (0, usual, 0)
