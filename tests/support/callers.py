"""Users on pytest-grpc's plain (not async) stub, for tests of unary calls."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from parley.v1 import account_pb2

from tests.support.people import PASSWORD, fresh_name, reason_of


@dataclass(slots=True)
class Caller:
    """A user who is logged in."""

    stub: Any
    name: str
    token: str
    refresh_token: str

    def call(self, method: str, request: Any) -> Any:
        """Makes a call with the user's token."""
        metadata = (("authorization", f"Bearer {self.token}"),)
        return getattr(self.stub, method)(request, metadata=metadata, timeout=20)


def register(stub: Any, name: str | None = None, **fields: str) -> Caller:
    """Makes an account."""
    request = account_pb2.RegisterRequest(username=name or fresh_name(), password=PASSWORD, **fields)
    answer = stub.Register(request, timeout=20)
    return Caller(stub, answer.user.username, answer.access_token, answer.refresh_token)


@dataclass(slots=True)
class Refusal:
    """A refused call; filled in when the block has ended."""

    error: Any = None

    @property
    def status(self) -> status_pb2.Status:
        """With its details."""
        details = dict(self.error.trailing_metadata())["grpc-status-details-bin"]
        return status_pb2.Status.FromString(details)

    @property
    def metadata(self) -> dict[str, str]:
        """The ErrorInfo's."""
        info = error_details_pb2.ErrorInfo()
        assert self.status.details[0].Unpack(info)
        return dict(info.metadata)


@contextlib.contextmanager
def refused(reason: str, code: grpc.StatusCode | None = None) -> Iterator[Refusal]:
    """Expects the call inside to be refused for this reason."""
    refusal = Refusal()
    with pytest.raises(grpc.RpcError) as caught:
        yield refusal
    refusal.error = caught.value
    assert reason_of(refusal.status) == reason, caught.value
    assert code is None or refusal.error.code() is code
