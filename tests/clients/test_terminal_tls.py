"""The terminal chat with TLS."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.test_terminal_chat import Person, at_terminals, drive, fresh_name
from tests.support.certificates import make_certificate
from tests.support.servers import RunningServer, running_server


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningServer, Path]]:
    """A server with TLS for chat.example, and its certificate."""
    certificate, key = make_certificate(tmp_path_factory.mktemp("tls"))
    settings = {"PARLEY_TLS_CERTIFICATE_FILE": str(certificate), "PARLEY_TLS_KEY_FILE": str(key)}
    with running_server(settings=settings) as server:
        yield server, certificate


async def test_with_the_authority_and_the_name_of_the_certificate_people_talk(
    secured: tuple[RunningServer, Path],
) -> None:
    server, certificate = secured

    def work() -> None:
        ada = Person(server.target, fresh_name("ada"), "--ca", str(certificate), "--server-name", "chat.example")
        with at_terminals(ada):
            ada.sees("/help lists the commands")
            ada.types(f"/join {ada.name}\r")
            ada.sees("--- notes to self ---")
            ada.types("over TLS\r")
            ada.sees(f"{ada.name}: over TLS")

    await drive(work)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--tls", "--server-name", "chat.example"), "certificate is not trusted"),
        (("--ca", "CERTIFICATE"), "certificate is not trusted"),  # it is for another host
        (("--ca", "/nowhere/ca.pem"), "--ca /nowhere/ca.pem can't be read"),
        (("--ca", "KEY"), "has no certificate in PEM"),
        (("--server-name", "chat.example"), "--server-name is for TLS"),
        ((), "the server can't be reached"),
    ],
    ids=["unknown authority", "another host", "no file", "no certificate", "no TLS", "plain text"],
)
async def test_what_can_not_be_secured_ends_in_one_line(
    secured: tuple[RunningServer, Path], arguments: tuple[str, ...], line: str
) -> None:
    server, certificate = secured
    files = {"CERTIFICATE": str(certificate), "KEY": str(certificate.with_name("key.pem"))}

    def work() -> None:
        ada = Person(server.target, fresh_name("ada"), *(files.get(word, word) for word in arguments))
        with at_terminals(ada):
            ada.sees(line)
            assert ada.leaves() == 1

    await drive(work)
