"""pytest-grpc's fixtures, pointed at the real server: `grpc_channel` and `grpc_stub` for unary calls; other servers."""

from collections.abc import Iterator
from typing import Any

import pytest
from parley.v1 import chat_service_pb2_grpc

from tests.support.manual import quick_server
from tests.support.servers import RunningServer


@pytest.fixture(scope="module")
def quick() -> Iterator[RunningServer]:
    """A server that is quick to give up what is not acked."""
    with quick_server() as running:
        yield running


@pytest.fixture(scope="module")
def grpc_addr(server: RunningServer) -> str:
    """Where the channel goes."""
    return server.target


@pytest.fixture(scope="module")
def grpc_server(server: RunningServer) -> RunningServer:
    """The server that answers: no servicer in this process, the real one."""
    return server


@pytest.fixture(scope="module")
def grpc_stub_cls() -> Any:
    """The generated stub."""
    return chat_service_pb2_grpc.ChatServiceStub
