"""The hosts of a database URL, in the forms that PostgreSQL's own clients take."""

import pytest

from storage.postgres.hosts import Host, parse_hosts


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("postgresql://u:p@one.example/db", [Host("one.example", None)]),
        ("postgresql://u:p%40@one:5433,two:5434/db?sslmode=require", [Host("one", 5433), Host("two", 5434)]),
        ("postgresql://one,two:5434", [Host("one", None), Host("two", 5434)]),
        ("postgresql://u@[::1]:5433,[fe80::2]/db", [Host("::1", 5433), Host("fe80::2", None)]),
        ("postgresql://u@%2Frun%2Fa,%2Frun%2Fb/db", [Host("/run/a", None), Host("/run/b", None)]),
        ("postgresql://u@/db?host=/run/a,/run/b&port=5433", [Host("/run/a", 5433), Host("/run/b", 5433)]),
        ("postgresql://u@/db?host=a,b&port=1,2", [Host("a", 1), Host("b", 2)]),
        ("postgresql://u@/db?host=a", [Host("a", None)]),
        ("postgresql://u@/db", []),
        ("postgresql:///db", []),
    ],
)
def test_hosts_of(url: str, hosts: list[Host]):
    assert parse_hosts(url) == hosts


@pytest.mark.parametrize(
    "url", ["postgresql://one:port/db", "postgresql://u@/db?host=a,b,c&port=1,2", "postgresql://u@/db?host=a&port=x"]
)
def test_what_can_not_be_read_is_refused(url: str):
    with pytest.raises(ValueError, match=r"invalid literal|hosts"):
        parse_hosts(url)


def test_address_is_shown_without_a_password():
    assert [str(host) for host in parse_hosts("postgresql://u:secret@one:5433,two/db")] == ["one:5433", "two"]
