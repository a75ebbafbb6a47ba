"""One refusal names all fields of a request that are out of their range."""

import pytest

from service.domain import checks
from service.domain.errors import InvalidRequest, ScopeMissing
from service.domain.field_checks import FieldChecks
from service.domain.limits import MAX_VIOLATIONS


def test_block_without_a_refusal_returns_what_the_checks_return():
    with FieldChecks() as check:
        name = check(checks.to_username, "Ann")
        size = check(checks.to_page_size, 7, "page_size", default=1, maximum=5)
    assert (name, size) == ("ann", 5)


def check_three() -> None:
    """Two of these three are refused, and so is what comes after them."""
    with FieldChecks() as check:
        check(checks.to_device_id, "é")
        check(checks.to_username, "ann")
        check(checks.to_natural, -1, "epoch")
        raise InvalidRequest("cursor", "must not be negative")


def check_name_and_scope(name: str) -> None:
    with FieldChecks() as check:
        check(checks.to_username, name)
        raise ScopeMissing("all")


def test_refusal_is_about_the_first_field_and_names_all():
    with pytest.raises(InvalidRequest) as caught:
        check_three()
    refusal = caught.value
    assert [field for field, _ in refusal.violations] == ["device_id", "epoch", "cursor"]
    assert refusal.metadata == {"field": "device_id"}
    assert refusal.message == f"device_id: {refusal.violations[0][1]}."


def test_another_refusal_stands_where_no_field_was_refused_before():
    with pytest.raises(ScopeMissing):
        check_name_and_scope("ann")
    with pytest.raises(InvalidRequest):
        check_name_and_scope("a")


def test_each_name_that_is_wrong_is_told_by_its_place_up_to_the_limit():
    with pytest.raises(InvalidRequest) as caught:
        checks.to_usernames(["alice", "x", "bob", "y"], "members", max_count=5)
    assert [field for field, _ in caught.value.violations] == ["members[1]", "members[3]"]
    with pytest.raises(InvalidRequest) as caught:
        checks.to_usernames(["x"] * 500, "members", max_count=500)
    assert [field for field, _ in caught.value.violations] == [f"members[{nth}]" for nth in range(MAX_VIOLATIONS)]
