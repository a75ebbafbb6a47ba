import pytest

from service.auth import fields
from service.domain.errors import InvalidRequest


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "http://a",
        "HTTPS://example.org/x.png?y=1#z",
        "https://[::1]:8443/a",
        "https://example.org/%C3%A4",
        "http://a:1/",
    ],
)
def test_absolute_web_addresses_are_taken(uri: str) -> None:
    assert fields.to_avatar_uri(uri) == uri


@pytest.mark.parametrize(
    "uri",
    [
        "example.org/x.png",
        "//example.org",
        "ftp://example.org",
        "javascript:alert(1)",
        "data:image/png;base64,AAAA",
        "http://",
        "http:///path",
        "http://exa mple.org",
        "http://example.org/ä",
        "http://example.org:99999/",
        "http://example.org:0/",
        "http://[::1/",
        "http://a\n",
        "http://a\0",
        "http://a/" + "x" * 2048,
    ],
)
def test_other_uris_are_refused(uri: str) -> None:
    with pytest.raises(InvalidRequest):
        fields.to_avatar_uri(uri)


@pytest.mark.parametrize("password", ["", "1234567", "ä" * 129, "12345678\0"])
def test_password_out_of_range_is_refused(password: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        fields.to_new_password(password)
    assert password == "" or password not in str(refusal.value)


@pytest.mark.parametrize("password", ["12345678", "ä" * 4, "ä" * 128])
def test_password_counts_in_bytes(password: str) -> None:
    assert fields.to_new_password(password) == password


def test_longest_values_are_taken_and_longer_ones_refused() -> None:
    for to_field, longest in (
        (fields.to_display_name, "ä" * 64),
        (fields.to_avatar_uri, "http://a/" + "x" * (2048 - 9)),
        (fields.to_new_password, "p" * 256),
        (fields.to_password, "p" * 256),
    ):
        assert to_field(longest) == longest
        with pytest.raises(InvalidRequest):
            to_field(longest + "x")


def test_password_to_compare_may_be_short_and_the_field_is_named() -> None:
    assert fields.to_password("") == ""
    with pytest.raises(InvalidRequest) as refusal:
        fields.to_password("p" * 257, "old_password")
    assert refusal.value.violations[0][0] == "old_password"


def test_name_to_show_is_one_line() -> None:
    assert fields.to_display_name("") == ""
    with pytest.raises(InvalidRequest, match="display_name"):
        fields.to_display_name("two\nlines")
