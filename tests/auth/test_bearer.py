import pytest

from service.auth.bearer import token_from_metadata
from service.domain.errors import TokenInvalid, TokenMissing


@pytest.mark.parametrize("value", ["Bearer t.o.k", "bearer t.o.k", "BEARER  t.o.k ", b"Bearer t.o.k"])
def test_token_is_found_whatever_the_case_of_the_scheme(value: str | bytes) -> None:
    assert token_from_metadata((("user-agent", "x"), ("authorization", value))) == "t.o.k"


@pytest.mark.parametrize(
    "metadata", [None, (), (("x", "y"),), (("authorization", ""),), (("authorization", "Bearer "),)]
)
def test_nothing_is_token_missing(metadata: tuple[tuple[str, str], ...] | None) -> None:
    with pytest.raises(TokenMissing):
        token_from_metadata(metadata)


@pytest.mark.parametrize(
    "metadata",
    [
        (("authorization", "Basic abc"),),
        (("authorization", "abc"),),
        (("authorization", "Bearer a"), ("authorization", "Bearer a")),
    ],
)
def test_another_scheme_and_several_entries_are_token_invalid(metadata: tuple[tuple[str, str], ...]) -> None:
    with pytest.raises(TokenInvalid) as refusal:
        token_from_metadata(metadata)
    assert "abc" not in str(refusal.value)
