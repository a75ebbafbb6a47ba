"""Gathers all fields of a request that are out of their range, so that one refusal names them together.

The checks themselves are in `checks.py` and beside what they guard; each raises InvalidRequest for its field.
"""

from collections.abc import Callable
from types import TracebackType
from typing import ParamSpec, Self, TypeVar, cast

from service.domain.errors import InvalidRequest

P = ParamSpec("P")
T = TypeVar("T")


class FieldChecks:
    """A block of checks: `with FieldChecks() as check: name = check(to_username, request.username)`.

    A check that refuses its field does not end the block; the end of the block raises one InvalidRequest for all such
    fields, in the order of the checks. What is raised in the block after a refusal gives way to it.
    """

    __slots__ = ("_found",)

    def __init__(self) -> None:
        self._found: list[tuple[str, str]] = []

    def __call__(self, check: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Returns what the check returns; None, which the block never gets to use, where the check refuses."""
        try:
            return check(*args, **kwargs)
        except InvalidRequest as refusal:
            self._found += refusal.violations
            return cast("T", None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        """Raises InvalidRequest if a check refused its field."""
        if isinstance(error, InvalidRequest):
            self._found += error.violations
        if self._found:
            (field, allowed), *others = self._found
            raise InvalidRequest(field, allowed, *others) from None
