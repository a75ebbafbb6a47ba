import pytest

from service.auth import fields
from service.domain.errors import InvalidRequest


@pytest.mark.parametrize(
    "uri",
    ["", "http://a", "HTTPS://example.org/x.png?y=1#z", "https://[::1]:8443/a", "https://example.org/%C3%A4"],
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
