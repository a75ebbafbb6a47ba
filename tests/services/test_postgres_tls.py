"""TLS to a PostgreSQL 15: the modes of libpq, and what is said where it does not work."""

from pathlib import Path

import pytest

from storage.errors import Lasting, Unavailable
from storage.postgres.connections.primary import Primary
from tests.services.postgres15 import Postgres15
from tests.services.site import Site
from tests.support.certificates import make_certificate


async def fault(url: str) -> Lasting:
    """What a connection fails with, which waiting does not mend; it shows no password."""
    with pytest.raises(Lasting) as error:
        await Primary(url).connect()
    assert "hunter" not in str(error.value)
    return error.value


async def has_tls(url: str) -> bool:
    """Connects; says whether the connection has TLS."""
    connection = await Primary(url).connect()
    try:
        return bool(await connection.fetchval("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"))
    finally:
        connection.terminate()


def start(site: Site, certificate: Path, key: Path, hosts: str, *options: str, method: str = "") -> Postgres15:
    """Starts a server with TLS and one line of pg_hba.conf for TCP."""
    own = site.write("server.crt", certificate.read_text()), site.write("server.key", key.read_text())
    hba = site.write(
        "pg_hba.conf", f"local all all scram-sha-256\n{hosts} all all 127.0.0.1/32 scram-sha-256 {method}\n"
    )
    server = Postgres15(site)
    server.start(f"ssl_cert_file={own[0]}", f"ssl_key_file={own[1]}", f"hba_file={hba}", "ssl=on", *options)
    return server


@pytest.mark.short
async def test_modes_of_tls_are_libpqs(site: Site, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    url = start(site, certificate, key, "hostssl").url()
    for query in ("", "?sslmode=prefer", "?sslmode=allow", "?sslmode=require"):
        assert await has_tls(url + query)
    assert await has_tls(f"{url}?sslmode=verify-ca&sslrootcert={certificate}")
    assert "set sslmode=require" in str(await fault(f"{url}?sslmode=disable"))
    other_host = await fault(f"{url}?sslmode=verify-full&sslrootcert={certificate}")
    assert "the server's certificate is another host's: " in str(other_host)
    (tmp_path / "other").mkdir()
    other, _ = make_certificate(tmp_path / "other")
    for mode in ("require", "verify-ca", "verify-full"):
        stranger = await fault(f"{url}?sslmode={mode}&sslrootcert={other}")
        assert str(stranger).startswith(f"nobody in sslrootcert ({other}) vouches for the server's certificate")
    system = await fault(f"{url}?sslrootcert=system")
    assert str(system).startswith("nobody in sslrootcert (system) vouches")
    wrong = await fault(url.replace(url[url.index("//") : url.index("@")], "//postgres:hunter"))
    assert str(wrong) == 'the password of the role "postgres" is refused'


async def test_role_that_may_come_without_tls_alone_does(site: Site, tmp_path: Path) -> None:
    url = start(site, *make_certificate(tmp_path), "hostnossl").url()
    assert not await has_tls(f"{url}?sslmode=prefer")
    assert not await has_tls(f"{url}?sslmode=allow")
    assert "the server refuses the role: no pg_hba.conf entry" in str(await fault(f"{url}?sslmode=require"))


async def test_certificate_of_a_client_is_shown_and_one_that_is_missing_or_unknown_is_told(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    certificate, key = make_certificate(tmp_path)
    ca = site.write("ca.crt", certificate.read_text())
    url = start(site, certificate, key, "hostssl", f"ssl_ca_file={ca}", method="clientcert=verify-ca").url()
    shown = f"sslmode=require&sslcert={certificate}&sslkey={key}"
    assert await has_tls(f"{url}?{shown}")
    for query in ("sslmode=require", f"{shown}&sslcertmode=disable"):
        assert "certificate" in str(await fault(f"{url}?{query}"))
    (tmp_path / "other").mkdir()
    other = "sslcert={}&sslkey={}".format(*make_certificate(tmp_path / "other"))
    with pytest.raises(Unavailable, match=r"sslcert"):
        await Primary(f"{url}?sslmode=require&{other}").connect()
