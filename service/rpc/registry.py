"""Registers the methods with gRPC; what happens around each one is in `pipeline.py`.

Requests and responses pass gRPC as bytes: a request that can't be decoded gets a clear refusal, and streams write bytes
that are encoded once for all readers. Generic handlers are registered, not methods one by one: that costs less a call
(docs/adr/0004-generic-handlers.md).
"""

from collections.abc import Mapping
from typing import Any

import grpc
from parley.v1 import chat_service_pb2

from service.rpc.method_kinds import Stream, Unary
from service.rpc.pipeline import Serve

SERVICE: str = chat_service_pb2.DESCRIPTOR.services_by_name["ChatService"].full_name


def to_generic_handler(methods: Mapping[str, Unary | Stream], serve: Mapping[str, Serve]) -> grpc.GenericRpcHandler:
    """Builds gRPC's handler of the service.

    Args:
        serve: what serves each method, by name.
    """
    handlers = {name: _to_method_handler(method)(serve[name]) for name, method in methods.items()}
    return grpc.method_handlers_generic_handler(SERVICE, handlers)


def _to_method_handler(method: Unary | Stream) -> Any:
    """Returns which of gRPC's four kinds a method is."""
    if isinstance(method, Unary):
        return grpc.unary_unary_rpc_method_handler
    if method.request_type is not None:
        return grpc.unary_stream_rpc_method_handler
    return grpc.stream_stream_rpc_method_handler
