"""What a server refuses is told apart for the bus and for presence, with what to do, and ends when it is mended."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import structlog
from redis.exceptions import BusyLoadingError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError

from storage.errors import Unavailable
from storage.redis.presence import PresenceStore
from storage.redis.timelines import TimelineStore
from storage.redis.troubles import ACL_RULES, explain
from tests.support.buses import hears, open_servers, running_bus, works
from tests.support.proxy import open_proxy
from tests.support.redises import Server, running_servers
from tests.support.waiting import wait_for, wait_until

PASSWORD = "p/w#[r@t%"
LOGIN = "parley:p%2Fw%23%5Br%40t%25@"


@pytest.fixture
def server() -> Iterator[Server]:
    with running_servers({"enable-protected-configs": "yes"}) as (server,):
        yield server


@dataclass(slots=True)
class Seen:
    """What a worker saw of a server within some tries."""

    bus: bool
    presence: str = ""  # the error; "" when it works
    timelines: str = ""
    log: list[str] = field(default_factory=list)


async def look(url: str) -> Seen:
    """Uses a server as a worker does, until the bus works or has said why not."""
    heard: list[bytes] = []
    seen = Seen(False)
    async with open_servers(url) as servers:
        for name, call in (
            ("presence", PresenceStore(servers, namespace="d.1.a").beat()),
            ("timelines", TimelineStore(servers, namespace="d.1.a", hosts=[]).share({1: 1})),
        ):
            try:
                await call
            except Unavailable as error:
                setattr(seen, name, str(error))
        with structlog.testing.capture_logs() as logs:
            try:
                async with running_bus(servers, heard, namespace="d.1.a", until=lambda: logs) as bus:
                    await wait_for(lambda: logs or hears(bus, heard, bus), what="the bus, or why not")
                    seen.bus = bus.is_alive
            finally:
                seen.log = [entry["error"] for entry in logs]
    return seen


def allow(server: Server, rules: str) -> str:
    """Makes a user with these rights alone; gives a URL with it."""
    server.run("ACL", "SETUSER", "parley", "on", f">{PASSWORD}", *rules.split())
    return f"redis://{LOGIN}{server.place}/0"


def is_loading(server: Server) -> bool:
    """Whether a server still reads its data."""
    try:
        server.run("GET", "1")
    except BusyLoadingError:
        return True
    except RedisConnectionError:
        pass  # it does not listen yet
    return False


async def test_the_rights_that_the_manual_lists_are_enough(server: Server) -> None:
    url = allow(server, ACL_RULES)
    assert await look(url) == Seen(True)
    assert await look(url[:-1] + "3") == Seen(True), "with another database number"


RIGHTS = ACL_RULES.split()
# Not needed in this setting: of another database number, of a cluster, and what the bus does without.
UNTRIED = {"select", "cluster|slots", "asking", "unsubscribe"}


@pytest.mark.parametrize("right", [word for word in RIGHTS if word[0] == "+" and word[1:] not in UNTRIED])
async def test_each_right_that_is_missing_is_told(server: Server, right: str) -> None:
    seen = await look(allow(server, " ".join(word for word in RIGHTS if word != right)))
    told = seen.log[0] if right in {"+publish", "+subscribe"} else seen.presence
    assert right[1:].partition("|")[0] in told.lower()
    assert told.endswith(f"the user in redis.url needs more rights: ACL SETUSER <user> {ACL_RULES}")
    assert seen.bus == (right not in {"+publish", "+subscribe"})
    assert bool(seen.presence) == (right not in {"+publish", "+subscribe"})


@pytest.mark.parametrize(
    ("rights", "has_bus", "has_presence"),
    [
        ("~other:*", True, False),
        ("&other:*", False, True),
    ],
)
async def test_keys_and_channels_that_may_not_be_used_are_told(
    server: Server, rights: str, has_bus: bool, has_presence: bool
) -> None:
    kind = rights[0]
    kept = [word for word in RIGHTS if word[0] != kind]
    seen = await look(allow(server, " ".join([*kept, rights])))
    assert (seen.bus, not seen.presence) == (has_bus, has_presence)
    told = seen.presence if has_bus else seen.log[0]
    assert "ACL SETUSER" in told


async def test_forbidden_scripts_cost_presence_alone() -> None:
    with running_servers({}, forbidden=["EVALSHA"]) as (server,):
        seen = await look(f"redis://{server.place}")
        assert seen.bus
        assert "renamed or switched off" in seen.presence
        assert "presence:" not in seen.presence, "nothing of the command's arguments"


async def test_server_that_loads_its_data_is_waited_for(server: Server) -> None:
    """A server that was restarted with much data answers with LOADING until it has read all of it."""
    server.run("EVAL", "for n = 1, 30000 do redis.call('SET', n, n) end", 0)
    server.run("SAVE")
    server.kill()
    # A millisecond a key, and commands are answered meanwhile.
    server.options |= {"key-load-delay": "1000", "loading-process-events-interval-bytes": "1024"}
    server.launch()
    await asyncio.to_thread(wait_until, lambda: is_loading(server), what="a server that loads")
    seen = await look(f"redis://{server.place}")
    assert seen.bus, "messages need no data, and go through"
    assert "it is loading its data, and answers when that is done" in seen.presence
    assert "it is loading its data, and answers when that is done" in seen.timelines
    async with open_servers(f"redis://{server.place}") as servers:
        store = PresenceStore(servers, namespace="d.1.a")
        assert not await works(store)
        server.run("CONFIG", "SET", "key-load-delay", "0")
        await wait_for(lambda: works(store), what="presence")


@pytest.mark.parametrize("command", ["PUBLISH", "SUBSCRIBE"])
async def test_forbidden_command_of_the_bus_costs_the_bus_alone(command: str) -> None:
    with running_servers({}, forbidden=[command]) as (server,):
        seen = await look(f"redis://{server.place}")
        assert not seen.bus
        assert not seen.presence
        assert "renamed or switched off" in seen.log[0]
        assert command.lower() in seen.log[0].lower()
        assert "args" not in seen.log[0], "nothing of the command's arguments"


@pytest.mark.parametrize(
    ("login", "path", "told"),
    [
        ("", "/0", "it asks for a password; put it into redis.url"),
        (":wrong@", "/0", "the user or the password in redis.url is wrong"),
        ("nobody:p%2Fw%23%5Br%40t%25@", "/0", "the user or the password in redis.url is wrong"),
        (":p%2Fw%23%5Br%40t%25@", "/99", "a database number that it does not have"),
    ],
)
async def test_wrong_login_and_wrong_number_are_told_and_shown_to_nobody(
    server: Server, login: str, path: str, told: str
) -> None:
    server.run("CONFIG", "SET", "requirepass", PASSWORD)
    seen = await look(f"redis://{login}{server.place}{path}")
    assert not seen.bus
    for text in (seen.presence, seen.timelines, *seen.log):
        assert told in text
        assert "wrong@" not in text
        assert PASSWORD not in text


async def test_password_for_a_server_that_has_none_is_told(server: Server) -> None:
    seen = await look(f"redis://:{'s3cret'}@{server.place}")
    assert "it has no password, and redis.url has one" in seen.presence
    assert "s3cret" not in seen.presence


async def test_disk_that_is_full_is_told(server: Server) -> None:
    gone = server.directory / "gone"
    gone.mkdir()
    server.run("CONFIG", "SET", "dir", str(gone))
    server.run("CONFIG", "SET", "save", "3600 1")
    gone.rmdir()
    server.run("SET", "x", "y")
    server.run("BGSAVE")
    await wait_for(lambda: server.run("INFO", "persistence")["rdb_last_bgsave_status"] == "err", what="the failure")
    seen = await look(f"redis://{server.place}")
    assert "it can't save to its disk and refuses writes" in seen.presence
    server.run("CONFIG", "SET", "stop-writes-on-bgsave-error", "no")
    assert await look(f"redis://{server.place}") == Seen(True)


async def test_too_many_connections_are_told(server: Server) -> None:
    server.run("CONFIG", "SET", "maxclients", 1)
    async with open_servers(f"redis://{server.place}") as holder:
        await PresenceStore(holder, namespace="n").beat()  # its connection is kept
        with structlog.testing.capture_logs() as logs:  # the answer may get lost, since the server closes at once

            def is_told() -> bool:
                return any("its maxclients" in entry["error"] for entry in logs)

            async with (
                open_servers(f"redis://{server.place}") as servers,
                running_bus(servers, [], until=is_told) as bus,
            ):
                assert is_told()
                assert not bus.is_alive


async def test_a_replica_alone_serves_neither_bus_nor_presence() -> None:
    with running_servers({}, {}) as (first, second):
        second.run("REPLICAOF", "127.0.0.1", first.port)
        seen = await look(f"redis://{second.place}")
        assert not seen.bus
        for text in (seen.presence, seen.log[0]):
            assert "it is a replica and takes no writes; redis.url must lead to the primary" in text


async def test_a_server_that_is_demoted_is_left_and_used_again_when_it_is_the_primary() -> None:
    heard: list[bytes] = []
    with running_servers({}, {}) as (first, second):
        async with open_servers(f"redis://{first.place}") as servers, running_bus(servers, heard) as bus:
            store = PresenceStore(servers, namespace="n")
            assert await store.beat()
            first.run("REPLICAOF", "127.0.0.1", second.port)
            await wait_for(lambda: not bus.is_alive, what="the bus to end")
            assert not await works(store)
            first.run("REPLICAOF", "NO", "ONE")
            await wait_for(lambda: bus.is_alive, what="the bus")
            await wait_for(lambda: works(store), what="presence")


async def test_behind_a_proxy_the_new_primary_is_found_though_the_old_connections_stay_open() -> None:
    here: list[bytes] = []
    there: list[bytes] = []
    with running_servers({}, {}) as (old, new):
        async with open_proxy(old.place) as proxy:
            url = f"redis://{proxy.target}"
            async with (
                open_servers(url) as one,
                open_servers(f"redis://{new.place}") as two,
                running_bus(one, here) as bus,
                running_bus(two, there) as other,
            ):
                store = PresenceStore(one, namespace="n")
                assert await store.beat()
                proxy.redirect(new.place)
                old.run("REPLICAOF", "127.0.0.1", new.port)
                await wait_for(lambda: hears(other, there, bus), what="what this one says")
                await wait_for(lambda: hears(bus, here, other), what="what the other says")
                await wait_for(lambda: works(store), what="presence")
                assert new.run("EXISTS", "{n:presence:0}:beats") == 1


async def test_half_open_connections_of_presence_are_all_left_at_once(server: Server) -> None:
    async with open_proxy(server.place) as proxy, open_servers(f"redis://{proxy.target}") as servers:
        store = PresenceStore(servers, namespace="n")
        assert await store.beat()
        await asyncio.gather(*(store.read(["ann"]) for _ in range(8)))
        assert proxy.hang() > 1
        assert not await works(store)
        assert await works(store) or await works(store), "a new name, on a new connection"


async def test_what_a_command_carried_is_not_in_the_text() -> None:
    error = ResponseError("unknown command 'PUBLISH', with args beginning with: 'c:a' 'what somebody wrote' ")
    assert "somebody" not in explain(error)
    assert explain(RedisConnectionError()) == "ConnectionError"


def test_the_manual_lists_the_rights_that_are_tested() -> None:
    page = (Path(__file__).parents[2] / "docs/operations/databases.md").read_text()
    assert f"ACL SETUSER parley on >password {ACL_RULES}\n" in page
