"""Parameters of PostgreSQL URLs, as providers hand them out."""

import re
from pathlib import Path

import pytest
from asyncpg import exceptions as pg

from storage.errors import Lasting
from storage.postgres.connections.connection import translated
from storage.postgres.connections.libpq import libpq_environment
from storage.postgres.connections.parameters import to_settings
from storage.postgres.connections.target import Keepalive, check_postgres_url, read_dropped, to_target
from storage.postgres.connections.tls import make_contexts, to_tls
from storage.urls import UrlError
from tests.support.certificates import make_certificate

# As the consoles of providers show them.
HANDED_OUT = [
    "postgresql://o:p@ep-a-1.eu.aws.neon.tech/d?sslmode=require&channel_binding=require",
    "postgresql://o:p@ep-a-1-pooler.eu.aws.neon.tech/d?sslmode=require&options=endpoint%3Dep-a-1&connect_timeout=10",
    "postgresql://postgres.ref:p@aws-0-eu.pooler.supabase.com:6543/postgres?pgbouncer=true&connection_limit=1",
    "postgres://u:p@db.ref.supabase.co:6543/postgres?sslmode=require&supa=base-pooler.x",
    "postgres://u:p@ec2-1.compute-1.amazonaws.com:5432/d?ssl=true",
    "postgresql://u:p@db.eu.rds.amazonaws.com/d?sslmode=verify-full&sslrootcert=system&target_session_attrs=read-write",
    "postgresql://u%40server:p@server.postgres.database.azure.com:5432/d?sslmode=require&application_name=chat",
    "postgresql://u:p@/d?host=/cloudsql/project:region:instance",
    "postgresql://u:p@h:26257/d?sslmode=verify-full&keepalives=1&keepalives_idle=30&keepalives_interval=10",
    "postgresql://u:p@h/d?keepalives_count=3&tcp_user_timeout=9000&gssencmode=disable&sslsni=1&client_encoding=utf8",
    "postgresql://u:p@a,b/d?load_balance_hosts=disable&sslnegotiation=direct&sslmode=require&uselibpqcompat=true",
    "postgresql://u:p@h/d?fallback_application_name=x&ssl_min_protocol_version=TLSv1.3&sslcompression=0&passfile=/x",
]


@pytest.mark.parametrize("url", HANDED_OUT)
def test_url_of_a_provider_is_taken(url: str):
    check_postgres_url(url)
    target = to_target(url, {})
    assert target.password == "p"
    assert set(target.settings) == set()


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("statement_timeout=1", "has the parameter statement_timeout, which is not known"),
        ("sslmoed=require", "has the parameter sslmoed, which is not known"),
        ("sslmode=verify", "value of sslmode that can't be had: it takes disable, allow, prefer"),
        ("channel_binding=always", "value of channel_binding"),
        ("gssencmode=require", "value of gssencmode"),
        ("target_session_attrs=standby", "value of target_session_attrs"),
        ("connect_timeout=soon", "value of connect_timeout that is no whole number"),
        ("keepalives=yes", "value of keepalives"),
        ("service=mine", "has the parameter service, which is not taken: write host, database and user"),
        ("schema=public", "has the parameter schema, which is not taken: set database.schema"),
        ("require_auth=scram-sha-256", "has the parameter require_auth, which is not taken"),
        ("replication=database", "has the parameter replication"),
        ("sslrootcert=system&sslmode=require", "sslrootcert=system with sslmode=require"),
        ("sslnegotiation=direct", "sslnegotiation=direct with sslmode=prefer"),
        ("options=-c%20work_mem", "options with a -c"),
    ],
)
def test_parameter_that_can_not_be_had_is_named(query: str, told: str):
    with pytest.raises(UrlError, match=re.escape(told)):
        check_postgres_url(f"postgresql://u:hunter@h/d?{query}")


def test_parameters_take_effect():
    target = to_target(
        "postgresql://u@h/d?connect_timeout=7&keepalives_idle=30&keepalives_interval=10&keepalives_count=3"
        "&tcp_user_timeout=9000&application_name=mine&options=-c%20work_mem%3D8MB%20endpoint%3Dep-1&sslmode=require"
        "&sslcert=~/c&sslkey=k&sslpassword=s&sslcrl=r&ssl_max_protocol_version=TLSv1.2&passfile=/x&krbsrvname=pg",
        {},
    )
    assert target.connect_seconds == 7
    assert target.keepalive == Keepalive(True, 30, 10, 3, 9000)
    assert (target.application_name, target.settings, target.options) == ("mine", {"work_mem": "8MB"}, "endpoint=ep-1")
    tls = target.tls
    assert (tls.mode, tls.certificate_file, tls.key_file, tls.key_password) == ("require", "~/c", "k", "s")
    assert (tls.revoked_file, tls.highest, target.passfile, dict(target.driver)) == (
        "r",
        "TLSv1.2",
        "/x",
        {"krbsrvname": "pg"},
    )
    assert to_target("postgresql://u@h/d?keepalives=0", {}).keepalive == Keepalive(False)


def test_mode_of_tls_comes_from_the_url_then_the_environment_then_it_is_libpqs():
    assert to_target("postgresql://u@h/d", {}).tls.mode == "prefer"
    assert to_target("postgresql://u@h/d", {"PGSSLMODE": "require"}).tls.mode == "require"
    assert to_target("postgresql://u@h/d?sslmode=disable", {"PGSSLMODE": "require"}).tls.mode == "disable"
    assert to_target("postgresql://u@h/d?sslrootcert=system", {}).tls.mode == "verify-full"
    assert to_target("postgresql://u@h/d?ssl=false", {}).tls.mode == "disable"
    with pytest.raises(UrlError, match="PGSSLMODE, which has a value that is none of disable, allow"):
        to_target("postgresql://u@h/d", {"PGSSLMODE": "always"})


def test_variables_of_tls_are_for_servers_on_the_network():
    environment = {"PGSSLNEGOTIATION": "direct", "PGSSLMODE": "always", "PGSSLROOTCERT": "system"}
    assert to_target("postgresql://u@/d?host=/run/p", environment).tls == to_tls({}, {})
    with pytest.raises(UrlError):
        to_target("postgresql://u@/d?host=/run/p,h", environment)


def test_what_is_dropped_is_told_and_what_is_less_than_asked_for_apart():
    found = read_dropped("postgresql://u@h/d?channel_binding=require&sslsni=1&connect_timeout=3&pgbouncer=true")
    assert [(name, is_less) for name, _, is_less in found] == [
        ("channel_binding", True),
        ("sslsni", False),
        ("pgbouncer", False),
    ]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("-c a=1 -cb=2 --c-d=3", ({"a": "1", "b": "2", "c_d": "3"}, "")),
        (r"-c a=x\ y\\z", ({"a": r"x y\z"}, "")),
        (r"endpoint=e -c a=b=c reference=r\ s", ({"a": "b=c"}, r"endpoint=e reference=r\ s")),
        ("", ({}, "")),
    ],
)
def test_options_are_taken_apart(options: str, expected: tuple[dict[str, str], str]):
    assert to_settings(options) == expected


@pytest.mark.parametrize("parameter", ["sslrootcert", "sslcert", "sslkey", "sslcrl"])
def test_file_that_is_missing_or_no_certificate_is_named_with_its_parameter(tmp_path, parameter: str):
    missing = tmp_path / "missing.pem"
    present = tmp_path / "no.pem"
    present.write_text("nothing")
    certificate, key = make_certificate(tmp_path)
    others = {"sslrootcert": certificate, "sslcert": certificate, "sslkey": key}
    for path, told in ((missing, f"{parameter}: can't read {missing}: No such file"), (present, str(present))):
        query = "&".join(f"{name}={value}" for name, value in (others | {parameter: path}).items())
        with pytest.raises(Lasting, match=re.escape(told)):
            make_contexts(to_target(f"postgresql://u@h/d?sslmode=verify-full&{query}", {}).tls)


def test_key_of_another_certificate_is_told(tmp_path):
    (tmp_path / "other").mkdir()
    certificate, _ = make_certificate(tmp_path)
    _, key = make_certificate(tmp_path / "other")
    with pytest.raises(Lasting, match=rf"sslkey: {key} is not the key of the certificate {certificate}"):
        make_contexts(to_target(f"postgresql://u@h/d?sslmode=require&sslcert={certificate}&sslkey={key}", {}).tls)


def test_home_that_can_not_be_read_is_no_hindrance(monkeypatch, tmp_path):
    """As that of another user, or none: a name that is too long stands for a directory that refuses."""
    monkeypatch.setenv("HOME", str(tmp_path / ("h" * 5000)))
    assert len(make_contexts(to_target("postgresql://u@h/d", {}).tls)) == 2
    with pytest.raises(Lasting, match="sslmode=verify-ca needs sslrootcert=FILE"):
        make_contexts(to_target("postgresql://u@h/d?sslmode=verify-ca", {}).tls)


def test_programs_of_postgresql_come_to_the_same_place():
    target = to_target(
        "postgresql://u:p%40@/d?host=/run/a%2Cb,other&port=5433,&sslmode=require&options=-c%20work_mem%3D8%5C%20MB", {}
    )
    with libpq_environment(target) as found:
        link = found["PGHOST"].split(",")[0]
        assert str(Path(link).readlink()) == "/run/a,b"
        assert found == {
            "PGHOST": f"{link},other",
            "PGPORT": "5433,",
            "PGUSER": "u",
            "PGPASSWORD": "p@",
            "PGDATABASE": "d",
            "PGAPPNAME": "parley",
            "PGOPTIONS": r"-c work_mem=8\ MB",
            "PGTARGETSESSIONATTRS": "read-write",
            "PGSSLMODE": "require",
        }
    assert not Path(link).parent.exists()


@pytest.mark.parametrize("error", [pg.DuplicatePreparedStatementError, pg.InvalidSQLStatementNameError])
def test_statement_of_another_session_tells_of_a_pooler(error: type[pg.PostgresError]):
    with pytest.raises(Lasting, match="pool_mode=session"), translated():
        raise error("prepared statement")
