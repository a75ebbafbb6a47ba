"""A proxy in the environment that leads nowhere: programs of ours reach a server on this machine all the same."""

from pathlib import Path

import pytest
from terminal_chat.channel import CHANNEL_OPTIONS, to_channel_options

from tests.bench.running import bench
from tests.clients.test_terminal_chat import Person, at_terminals
from tests.support.people import fresh_name
from tests.support.servers import RunningServer

DEAD = "http://127.0.0.1:1"


@pytest.fixture(autouse=True)
def dead_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every variable that names a proxy names one that is not there; none says that loopback needs none."""
    for name in ("grpc_proxy", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, DEAD)
        monkeypatch.setenv(name.upper(), DEAD)
    for name in ("no_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("is_private", [True, False], ids=["of its own", "that is there"])
def test_load_generator_goes_past_it(server: RunningServer, tmp_path: Path, is_private: bool) -> None:
    target = () if is_private else ("--target", server.target)
    ended = bench(tmp_path, "send", *target, "--warmup", "0", "--seconds", "1")
    assert ended.status == 0, ended.errors
    assert ended.run


def test_terminal_chat_goes_past_it(server: RunningServer) -> None:
    person = Person(server.target, fresh_name("ada"))
    with at_terminals(person):
        person.sees("/help lists the commands")


@pytest.mark.parametrize("target", ["127.0.0.1:1", "localhost:1", "[::1]:1", "127.8.8.8:1"])
def test_only_this_machine_is_reached_without_it(target: str) -> None:
    assert ("grpc.enable_http_proxy", 0) in to_channel_options(target)
    assert to_channel_options("chat.example:1") == CHANNEL_OPTIONS
