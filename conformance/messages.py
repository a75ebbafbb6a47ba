"""Requests and answers in the one JSON form that scenarios speak: snake_case, int64 as text, defaults written out.

A runner writes proto3 JSON in its language's way; here it is read into the reference messages and written again, so
that only what it means is compared. A google.rpc.Status becomes the ERROR of conformance/README.md.
"""

import base64
import functools
from typing import Any

import grpc
from google.protobuf import any_pb2, json_format, message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from parley.v1 import chat_pb2, chat_service_pb2, message_pb2

DOMAIN = "parley.v1"
_SERVICE = chat_service_pb2.DESCRIPTOR.services_by_name["ChatService"]
_CODES = {code.value[0]: code.name for code in grpc.StatusCode}
_DETAILS: tuple[type[Message], ...] = (
    error_details_pb2.ErrorInfo,
    error_details_pb2.BadRequest,
    error_details_pb2.RetryInfo,
)


class NotTheContract(Exception):
    """A runner wrote what is no message of the contract; the text says what."""


def request_of(method: str, content: Any) -> dict[str, Any]:
    """Returns a method's request in proto3 JSON, from what a scenario says.

    Raises:
        NotTheContract: the scenario is wrong.
    """
    return _read(_types(method)[0], content, preserving=False)


def frame_of(content: Any) -> dict[str, Any]:
    """The same for a ChatRequest."""
    return _read(chat_pb2.ChatRequest, content, preserving=False)


def to_response(method: str, content: Any) -> dict[str, Any]:
    """Returns a method's response in the scenarios' form."""
    return _read(_types(method)[1], content, preserving=True)


def to_frame(content: Any) -> dict[str, Any]:
    """The same for a ChatResponse."""
    return _read(chat_pb2.ChatResponse, content, preserving=True)


def to_entry(content: dict[str, Any]) -> dict[str, Any]:
    """The same for what a session gives: `{"message": Message}` or `{"reset": Reset}`."""
    kinds: dict[str, type[Message]] = {"message": message_pb2.Message, "reset": chat_pb2.Reset}
    if len(content) != 1 or (name := next(iter(content))) not in kinds:
        raise NotTheContract(f"no entry: {str(content)[:300]}")
    return {name: _read(kinds[name], content[name], preserving=True)}


@functools.cache
def _types(method: str) -> tuple[type[Message], type[Message]]:
    found: MethodDescriptor | None = _SERVICE.methods_by_name.get(method)
    if found is None:
        raise NotTheContract(f"there is no method {method}")
    return message_factory.GetMessageClass(found.input_type), message_factory.GetMessageClass(found.output_type)


def _read(kind: type[Message], content: Any, *, preserving: bool) -> dict[str, Any]:
    try:
        message = json_format.ParseDict(_with_types(content), kind())
    except json_format.ParseError as error:
        raise NotTheContract(f"no {kind.DESCRIPTOR.name}: {error}") from None
    written: dict[str, Any] = json_format.MessageToDict(
        message,
        preserving_proto_field_name=preserving,
        always_print_fields_with_no_presence=preserving,
    )
    return _with_errors(written) if preserving else written


def _with_types(value: Any) -> Any:
    """Writes each Any that is given by `typeUrl` and bytes as JSON does."""
    if isinstance(value, list):
        return [_with_types(item) for item in value]
    if not isinstance(value, dict):
        return value
    url = value.get("typeUrl") or value.get("type_url")
    if isinstance(url, str) and "@type" not in value:
        packed = any_pb2.Any(type_url=url, value=base64.b64decode(value.get("value") or ""))
        return json_format.MessageToDict(packed)
    return {key: _with_types(item) for key, item in value.items()}


def _with_errors(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_errors(item) for item in value]
    if not isinstance(value, dict):
        return value
    if {"code", "message", "details"} == set(value):
        return to_error(json_format.ParseDict(value, status_pb2.Status()))
    return {key: _with_errors(item) for key, item in value.items()}


def to_error(status: status_pb2.Status) -> dict[str, Any]:
    """Returns a status as ERROR, without `log`."""
    error: dict[str, Any] = {"code": _CODES.get(status.code, str(status.code)), "message": status.message}
    for detail in status.details:
        for kind in _DETAILS:
            found = kind()
            if detail.Unpack(found):
                error |= _detail(found)
    return error


def _detail(found: Message) -> dict[str, Any]:
    if isinstance(found, error_details_pb2.ErrorInfo):
        return {"reason": found.reason, "metadata": dict(found.metadata)} if found.domain == DOMAIN else {}
    if isinstance(found, error_details_pb2.BadRequest):
        return {"fields": [violation.field for violation in found.field_violations]}
    assert isinstance(found, error_details_pb2.RetryInfo)
    return {"retry_delay_ms": found.retry_delay.ToMilliseconds()}
