"""Classes, the contract's enum, the table of statuses and docs/errors.md say the same of every error."""

import inspect
import re
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2
from parley.v1 import error_pb2

from service.convert.status import DOMAIN, TABLE, number_of, to_status
from service.domain import errors
from service.domain.errors import ParleyError

DOCS = Path(__file__).parents[2] / "docs" / "errors.md"
PREFIX = "ERROR_REASON_"
ROW = re.compile(r"^\| (\d+) \| (\w+) \| (\w+) \| (yes|no) \| \S.*\S \| (\S.*) \|$", re.MULTILINE)
# Families of numbers, by their first digit: what is in the module of errors, by reason.
FAMILIES = {
    1: {
        "INTERNAL",
        "INVALID_REQUEST",
        "RATE_LIMITED",
        "OVERLOADED",
        "UNKNOWN_PAYLOAD",
        "OUT_OF_ORDER",
        "DEADLINE_PASSED",
        "SHUTTING_DOWN",
    },
    2: {"DATABASE_UNAVAILABLE"},
}
# One of each class, as the server raises it.
EXAMPLES: list[ParleyError] = [
    errors.Internal("1f"),
    errors.InvalidRequest("text", "must not be empty"),
    errors.MessageTooLarge("text", 2, 1),
    errors.UnknownPayload(),
    errors.OutOfOrder("`hello` must come first.", metadata={"payload": "ack"}),
    errors.DeadlinePassed(),
    errors.RateLimited("attempts", 7.5),
    errors.Overloaded("messages"),
    errors.ShuttingDown(),
    errors.DatabaseUnavailable(),
    errors.RetryExhausted(),
    errors.TokenMissing(),
    errors.TokenInvalid("The token is not one of ours.", metadata={"why": "it is not a token"}),
    errors.TokenExpired(),
    errors.BadCredentials(),
    errors.UsernameTaken("alice"),
    errors.UserNotFound("alice"),
    errors.UserDisabled(),
    errors.RegistrationClosed(),
    errors.ScopeMissing("dead_letters"),
    errors.ConversationNotFound("g1"),
    errors.RoleTooLow("send messages", "READER"),
    errors.MemberNotFound("alice"),
    errors.LastOwner(),
    errors.DirectConversation("rename"),
    errors.TooManyMembers(3),
    errors.RequestIdReused("r1"),
    errors.CursorBeyondEnd("g1", 9),
    errors.ReplyNotFound(4),
    errors.AckBeyondDelivered("g1", 2),
    errors.TooManyDevices(100),
    errors.AckModeMismatch("phone"),
    errors.DeliveryNotHeld("g1", 3, is_dead=True),
]


def classes() -> set[type[ParleyError]]:
    found = {cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, ParleyError)}
    return found - {ParleyError}


def enum_numbers() -> dict[str, int]:
    return {
        value.name.removeprefix(PREFIX): value.number
        for value in error_pb2.ErrorReason.DESCRIPTOR.values
        if value.number
    }


def details(error: ParleyError) -> dict[type, object]:
    found = {}
    for detail in to_status(error).details:
        for kind in (error_details_pb2.ErrorInfo, error_details_pb2.BadRequest, error_details_pb2.RetryInfo):
            message = kind()
            if detail.Unpack(message):
                found[kind] = message
    return found


def test_every_class_has_a_row_a_reason_of_its_own_and_an_example():
    assert set(TABLE) == classes() == {type(example) for example in EXAMPLES}
    reasons = [cls.reason for cls in classes()]
    assert len(set(reasons)) == len(reasons)


def test_reasons_are_exactly_those_of_the_contract():
    assert {cls.reason for cls in classes()} == set(enum_numbers())


def test_numbers_are_in_their_families():
    for reason, number in enum_numbers().items():
        assert 10_001 <= number <= 59_999, reason
        assert number == number_of(reason)
    for family, reasons in FAMILIES.items():
        assert {reason for reason, number in enum_numbers().items() if number // 10_000 == family} == reasons


def test_page_of_errors_says_the_same():
    shown = [
        (int(number), reason, code, retry == "yes") for number, reason, code, retry, _ in ROW.findall(DOCS.read_text())
    ]
    held = sorted((number_of(cls.reason), cls.reason, row.code.name, row.is_retryable) for cls, row in TABLE.items())
    assert shown == held


def test_page_of_errors_names_the_keys_of_each_metadata():
    shown = {reason: re.findall(r"`(\w+)`", keys) for _, reason, _, _, keys in ROW.findall(DOCS.read_text())}
    assert shown == {example.reason: sorted(example.metadata) for example in EXAMPLES}


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: error.reason)
def test_status_carries_reason_number_and_what_else_applies(error: ParleyError):
    status = to_status(error)
    row = TABLE[type(error)]
    assert (status.code, status.message) == (row.code.value[0], error.message)
    found = details(error)
    info = found[error_details_pb2.ErrorInfo]
    assert (info.reason, info.domain) == (error.reason, DOMAIN)
    assert dict(info.metadata) == {**error.metadata, "number": str(number_of(error.reason))}
    assert (error_details_pb2.BadRequest in found) == (
        row.code is grpc.StatusCode.INVALID_ARGUMENT and bool(error.violations)
    )
    # Who may come again is told when, but for a deadline of the caller's own.
    is_advised = row.is_retryable and not isinstance(error, errors.DeadlinePassed)
    assert (error_details_pb2.RetryInfo in found) == is_advised
    assert error.message.endswith(".")


def test_field_violations_and_delays_are_told():
    found = details(errors.InvalidRequest("members[3]", "must be a name"))
    (violation,) = found[error_details_pb2.BadRequest].field_violations
    assert (violation.field, violation.description) == ("members[3]", "must be a name")
    # What the error knows better than the table.
    assert (
        details(errors.RateLimited("attempts", 7.5))[error_details_pb2.RetryInfo].retry_delay.ToMilliseconds() == 7500
    )
    assert details(errors.Overloaded("x"))[error_details_pb2.RetryInfo].retry_delay.ToMilliseconds() == 500


def test_only_the_table_names_status_codes():
    service = Path(errors.__file__).parents[1]
    # `grpc_transport.py` turns numbers into grpc's values, whichever they are.
    naming = {str(path.relative_to(service)) for path in service.rglob("*.py") if "StatusCode" in path.read_text()}
    assert naming == {"convert/status.py", "rpc/grpc_transport.py"}
