"""URLs of databases: what is taken, what is refused, and that no error shows a piece of a password."""

import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.embedded import EmbeddedPostgres, EmbeddedValkey
from storage.postgres.connections.target import check_postgres_url, to_target
from storage.redis.urls import check_redis_url, parse_redis_url
from storage.urls import Host, UrlError, mask_url, split_url

# Passwords with a character that has to be encoded.
RAW = ["hun/ter", "/hunter", "hun#ter", "hun?ter", "hun?ter=1", "hun@ter", "hun@ter:1", "hun[ter", "hun]ter"]
RAW += ["hun%ter", "hun%zzter", "hun ter", "hun\tter", "hunter\n", "hun%00ter", "hun@/ter", "hun/?#[]@ter"]
RAW += ["1234/hun", "1234?hun=5"]


@pytest.mark.parametrize("password", RAW)
@pytest.mark.parametrize("url", ["postgresql://user:{}@host:5432/db", "postgres://user:{}@one,two/db?sslmode=require"])
def test_raw_character_in_a_password_is_told_and_nothing_of_it_shown(password: str, url: str):
    text = url.format(password)
    with pytest.raises(UrlError, match="percent-encode the password") as error:
        check_postgres_url(text)
    assert "hun" not in str(error.value)
    assert "ter" not in str(error.value).replace("character", "").replace("after", "")
    assert mask_url(text) == text.split("://")[0] + "://***"


@pytest.mark.parametrize("password", RAW)
@pytest.mark.parametrize("url", ["redis://:{}@host:6379/0", "rediss://user:{}@host", "unix://user:{}@/run/s.sock"])
def test_raw_character_in_a_password_of_redis_is_told_too(password: str, url: str):
    text = url.format(password)
    with pytest.raises(UrlError, match="percent-encode the password") as error:
        check_redis_url(text)
    assert "hun" not in str(error.value)
    assert "hun" not in mask_url(text)


@pytest.mark.parametrize("url", ["postgresql://user:hunter", "postgresql://user:hunter/db", "redis://:hunter"])
def test_url_that_a_comment_sign_of_yaml_cut_off_shows_nothing(url: str):
    with pytest.raises(UrlError, match="percent-encode the password") as error:
        (check_redis_url if url.startswith("redis") else check_postgres_url)(url)
    assert "hunter" not in str(error.value)
    assert "hunter" not in mask_url(url)


@given(password=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
def test_every_encoded_password_comes_back_and_is_masked(password: str):
    encoded = "".join(f"%{byte:02X}" for byte in password.encode())
    text = "postgresql://user:{0}@host:5433/db?sslpassword={0}&sslmode=require"
    url = text.format(encoded)
    target = to_target(url, {})
    assert (target.password, target.hosts, target.database) == (password, (Host("host", 5433),), "db")
    assert repr(target) == repr(to_target(text.format("another"), {})), "it depends on the password"
    assert mask_url(url) == "postgresql://user:***@host:5433/db?sslpassword=***&sslmode=require"


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("postgresql://u:p@one.example/db", [Host("one.example", None)]),
        ("POSTGRESQL://u:p%40@one:5433,two:5434/db?sslmode=require", [Host("one", 5433), Host("two", 5434)]),
        ("postgresql://one,two:5434", [Host("one", None), Host("two", 5434)]),
        ("postgresql://u@[::1]:5433,[fe80::2%25eth0]/db", [Host("::1", 5433), Host("fe80::2%eth0", None)]),
        ("postgresql://u@%2Frun%2Fa,%2Frun%2Fb:5433/db", [Host("/run/a", None), Host("/run/b", 5433)]),
        ("postgresql://u@/db?host=/run/a,/run/b&port=5433", [Host("/run/a", 5433), Host("/run/b", 5433)]),
        ("postgresql://u@/db?host=a,b&port=1,2", [Host("a", 1), Host("b", 2)]),
        ("postgresql://u@/db?host=/run/a%2Cb%20%23%3F", [Host("/run/a,b #?", None)]),
        ("postgresql://u@a/db?port=5433", [Host("a", 5433)]),
        ("postgresql://u:a:b@h/db", [Host("h", None)]),
        ("postgresql://u@/db", []),
        ("postgresql:///db", []),
    ],
)
def test_hosts_of(url: str, hosts: list[Host]):
    check_postgres_url(url)
    assert list(to_target(url, {"PGUSER": "u"}).hosts) == hosts


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("mysql://u@h/db", "must begin with postgresql:// or postgres://"),
        ("host=h dbname=db", "must begin with"),
        ("postgresql://one:port/db", "port that is no number"),
        ("postgresql://one:0/db", "port that is no number"),
        ("postgresql://one:65536/db", "port that is no number"),
        ("postgresql://one:-1/db", "port that is no number"),
        ("postgresql://one:\u0661/db", "port that is no number"),
        ("postgresql://u@/db?host=a,b,c&port=1,2", "has 3 hosts and 2 ports"),
        ("postgresql://u@/db?host=a&port=x", "port that is no number"),
        ("postgresql://u@one,,two/db", "empty host"),
        ("postgresql://u@one,/db", "empty host"),
        ("postgresql://u@:5432/db", "empty host"),
        ("postgresql://u@/db?host=", "empty host"),
        ("postgresql://u@::1/db", "several colons"),
        ("postgresql://u@[::1/db", "bracket"),
        ("postgresql://u@ho$st/db", "no host name has"),
        ("postgresql://u@h/db/more", 'second "/"'),
        ("postgresql://u@h/db?sslmode", "not name=value"),
        ("postgresql://u@/db?host=/" + "d" * 100, "longer than 107 bytes"),
    ],
)
def test_what_can_not_be_read_is_refused(url: str, told: str):
    with pytest.raises(UrlError, match=re.escape(told)):
        check_postgres_url(url)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://h", "must begin with redis:// or rediss:// or "),
        ("redis://", "must name a host"),
        ("redis+cluster:///0", "must name a host"),
        ("redis://a,b", "has several hosts: redis+sentinel://"),
        ("redis://user@h", "has a user and no password"),
        ("redis://h/0?db=1", "names two databases"),
        ("redis://h?db=x", "has a parameter db that must be the number of a database"),
        ("redis://h?database=1", "has a parameter database, which is none of client_name, db, "),
        ("redis://h?sentinel_password=s3cret", "has a parameter sentinel_password, which is none of"),
        ("redis://h?ssl_ca_certs=/etc/ca.pem", "has ssl_ca_certs without TLS: begin it with rediss://"),
        ("rediss://h?ssl_ca_certs=/no/ca.pem", "names /no/ca.pem, which can't be read: No such file"),
        ("rediss://h?ssl_cert_reqs=maybe", "ssl_cert_reqs that must be none, optional or required"),
        ("redis+sentinel://h:26379", "the name that Sentinel calls the service"),
        ("redis+sentinel://h/chat/x", "number of a database"),
        ("redis+sentinel://h/chat/0/1", "number of a database"),
        ("redis+cluster://h/1", "names a database number"),
        ("redis+other://h", "must begin with"),
        ("redis://h:x/0", "port that is no number"),
        ("redis://h/zero", "number of a database"),
        ("unix://", "three slashes"),
        ("unix://run/s.sock", "three slashes"),
    ],
)
def test_what_redis_can_not_take_is_refused(url: str, told: str):
    with pytest.raises(UrlError, match=re.escape(told)):
        check_redis_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "redis://h",
        "REDIS://:p%40@[::1]:6379/15",
        "rediss://u:p@h",
        "rediss://h:6380/0?ssl_cert_reqs=CERT_NONE&ssl_check_hostname=false",
        "valkeys://h",
        "unix:///run/s.sock?db=1",
        "unix://u:p@/run/s.sock",
        "redis+sentinel://u:p@a,[::1]:26380/my-master/2?sentinel_username=s&sentinel_password=p",
        "rediss+cluster://a:6379,b:6379/0",
        "redis://h?socket_timeout=5&max_connections=3&protocol=3&retry_on_timeout=true",
    ],
)
def test_what_redis_takes(url: str):
    check_redis_url(url)


def test_what_a_url_of_redis_says_goes_to_whom_it_is_meant_for():
    address = parse_redis_url(
        "rediss+sentinel://u:p%40@a,b:5/chat/2?sentinel_username=s&sentinel_password=q&ssl_cert_reqs=none&timeout=9"
    )
    assert (address.nodes, address.service_name, address.is_tls) == ((("a", 26379), ("b", 5)), "chat", True)
    tls = {"ssl_cert_reqs": "none", "ssl_check_hostname": False}
    assert address.options == {"username": "u", "password": "p@", "db": 2, **tls}
    assert address.sentinel_options == {"username": "s", "password": "q", **tls}
    assert "p@" not in str(address)


def test_database_and_user_that_the_url_leaves_open_are_as_libpq_has_them():
    assert to_target("postgresql://u:p@h", {}).database == "u"
    assert to_target("postgresql://u:p@h/", {"PGDATABASE": "d"}).database == "d"
    assert to_target("postgresql://h/d", {"PGUSER": "other"}).user == "other"
    assert to_target("postgresql://h/a%2Fb%20c", {"PGUSER": "u"}).database == "a/b c"


@given(name=st.text(st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1, max_size=20))
def test_any_data_directory_makes_urls_that_lead_to_its_sockets(name: str):
    directory = Path("/d") / name
    postgres, valkey = EmbeddedPostgres(directory), EmbeddedValkey(directory)
    check_postgres_url(postgres.url)
    check_redis_url(valkey.url)
    assert to_target(postgres.url, {}).hosts == (Host(str(postgres.socket_path.parent), 5432),)
    assert split_url(valkey.url).path == str(valkey.socket_path)


def test_directory_whose_name_is_no_text_makes_such_urls_too():
    directory = Path(os.fsdecode(b"/d/\xff,@"))
    assert to_target(EmbeddedPostgres(directory).url, {}).hosts[0].name == str(directory / "postgres")
