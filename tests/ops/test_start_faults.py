"""Commands on a database that won't do: one line, at once where waiting is of no use, no piece of a password."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.tcp_node import TcpNode, running_tcp_node

PARLEY = (sys.executable, "-m", "service")
COMMANDS = [("serve", "--listen", "127.0.0.1:0"), ("migrate",), ("user", "create", "ann")]
# A start that waits takes 30 s.
AT_ONCE_SECONDS = 20


@pytest.fixture(scope="module")
def node() -> Iterator[TcpNode]:
    """A server with the role `app`, which has a password and may do nothing, and the databases `app` and `latin`."""
    with running_tcp_node() as running:
        running.sql("CREATE ROLE app LOGIN PASSWORD 'hunter2'")
        running.sql("CREATE DATABASE app")
        running.sql("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' LOCALE_PROVIDER libc TEMPLATE template0")
        running.restart("host all all 127.0.0.1/32 scram-sha-256")
        yield running


def refusal(directory: Path, arguments: tuple[str, ...], url: str, *, name: str = "DATABASE", home: str = "") -> str:
    """Runs a command to its end, which must be a refusal; gives the line for the operator."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PARLEY_", "PG"))}
    done = subprocess.run(
        [*PARLEY, *arguments, "--data-dir", str(directory / "d")],
        env=environment | {f"PARLEY_{name}_URL": url, "HOME": home or str(directory)},
        capture_output=True,
        text=True,
        check=False,
        timeout=AT_ONCE_SECONDS,
    )
    told = [line for line in done.stderr.splitlines() if line.startswith("parley: ")]
    assert (done.returncode, len(told)) == (1, 1), done.stderr
    assert "hunter" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return told[0]


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda arguments: arguments[0])
def test_what_waiting_does_not_mend_is_one_line_at_once(
    node: TcpNode, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    url = f"postgresql://app:hunter2@127.0.0.1:{node.port}/app?"
    assert 'the password of the role "app" is refused' in refusal(tmp_path, arguments, url.replace("2@", "3@"))
    assert 'there is no database "none"' in refusal(tmp_path, arguments, url.replace("/app?", "/none?"))
    assert "sslmode=require asks for it" in refusal(tmp_path, arguments, f"{url}sslmode=require")
    missing = refusal(tmp_path, arguments, f"{url}sslmode=verify-full&sslrootcert={tmp_path}/ca.pem")
    assert f"sslrootcert: can't read {tmp_path}/ca.pem: No such file or directory" in missing
    assert "sslrootcert=system" in refusal(tmp_path, arguments, f"{url}sslmode=verify-full", home="/dev/null")
    unseen = refusal(tmp_path, arguments, url)
    assert 'GRANT CREATE ON DATABASE "app" TO "app"' in unseen or "run `parley migrate`" in unseen


@pytest.mark.parametrize("arguments", COMMANDS[:2], ids=lambda arguments: arguments[0])
def test_database_in_another_encoding_is_refused(node: TcpNode, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    url = f"postgresql://app:hunter2@127.0.0.1:{node.port}/latin"
    assert "has the encoding LATIN1, and messages need UTF8" in refusal(tmp_path, arguments, url)


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda arguments: arguments[0])
@pytest.mark.parametrize("name", ["DATABASE", "REDIS"])
def test_password_that_is_not_encoded_is_told_before_anything_starts(
    tmp_path: Path, arguments: tuple[str, ...], name: str
) -> None:
    scheme = {"DATABASE": "postgresql", "REDIS": "redis"}[name]
    told = refusal(tmp_path, arguments, f"{scheme}://app:hun/ter#hunter@127.0.0.1/0", name=name)
    assert told.startswith(f"parley: {name.lower()}.url (variable PARLEY_{name}_URL): ")
    assert "percent-encode the password" in told
    assert not (tmp_path / "d").exists()
