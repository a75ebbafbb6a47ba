"""The scenarios leave out no field: each of a request is written somewhere, each of an answer is looked at."""

from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from parley.v1 import chat_pb2, chat_service_pb2

from conformance.scenario import Step, load_scenarios

_METHODS = chat_service_pb2.DESCRIPTOR.services_by_name["ChatService"].methods
_PACKAGE = "parley.v1."
# Answers' fields that no scenario can count on; each has tests of its own in tests/.
NOT_LOOKED_AT = {
    "GetServerInfoResponse.commit",  # empty unless the server was built from a checkout
    "Receipt.seq",  # counts are for conversations of more than 200 members
    "Receipt.delivered_count",
    "Receipt.read_count",
}


def messages_of(field: FieldDescriptor) -> Iterator[Descriptor]:
    """The message of ours that a field holds, if it does."""
    held = field.message_type
    if held is not None and held.full_name.startswith(_PACKAGE) and not held.GetOptions().map_entry:
        yield held


def all_fields(kinds: Iterator[Descriptor]) -> set[str]:
    found: set[str] = set()
    waiting, seen = list(kinds), set()
    while waiting:
        kind = waiting.pop()
        if kind.full_name in seen:
            continue
        seen.add(kind.full_name)
        for field in kind.fields:
            found.add(name_of(field))
            waiting.extend(messages_of(field))
    return found


def name_of(field: FieldDescriptor) -> str:
    return field.full_name.removeprefix(_PACKAGE)


def named_fields(kind: Descriptor, value: Any) -> Iterator[str]:
    """The fields that a part of a scenario names, with those of the messages in it."""
    if isinstance(value, list):
        for item in value:
            yield from named_fields(kind, item)
    elif isinstance(value, dict):
        for key, item in value.items():
            if key.startswith("$"):  # $each has [times, element], $until and $contains what they look for
                yield from named_fields(kind, item)
                continue
            field = kind.fields_by_name[key]
            yield name_of(field)
            for held in messages_of(field):
                yield from named_fields(held, item)


def steps() -> Iterator[Step]:
    for scenario in load_scenarios():
        yield from scenario.steps


def written(step: Step) -> Iterator[str]:
    kinds = {method.name: method.input_type for method in _METHODS}
    if step.kind in ("call", "open"):
        yield from named_fields(kinds[step.subject], step.options.get("request", {}))
    elif step.kind == "page":
        yield from named_fields(kinds["Pull"], step.subject)
    elif step.kind == "write":
        yield from named_fields(chat_pb2.ChatRequest.DESCRIPTOR, step.subject)


def looked_at(step: Step) -> Iterator[str]:
    if step.kind == "call":
        kinds = {method.name: method.output_type for method in _METHODS}
        yield from named_fields(kinds[step.subject], step.options.get("expect", {}))
    elif step.kind == "receive":
        yield from named_fields(chat_pb2.ChatResponse.DESCRIPTOR, step.subject)


def test_every_field_of_a_request_is_written() -> None:
    requests = (method.input_type for method in _METHODS)
    assert {name for step in steps() for name in written(step)} == all_fields(requests)


def test_every_field_of_an_answer_is_looked_at() -> None:
    answers = (method.output_type for method in _METHODS)
    assert {name for step in steps() for name in looked_at(step)} == all_fields(answers) - NOT_LOOKED_AT
