"""`parley health` asks a running server, whatever its certificate files are by now, and takes no detours."""

import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from service.cli.health_probe import ProbeError, probe
from service.settings.host_port import split_listen
from tests.support.certificates import make_certificate
from tests.support.processes import run
from tests.support.servers import RunningServer
from tests.support.waiting import wait_until


def test_health_finds_a_server_with_tls_on_any_port_and_needs_none_of_its_files(
    directory: Path, start: Callable[..., RunningServer]
) -> None:
    certificate, key = make_certificate(directory)
    settings = {"PARLEY_TLS_CERTIFICATE_FILE": str(certificate), "PARLEY_TLS_KEY_FILE": str(key)}
    server = start(settings=settings | {"PARLEY_LISTEN": "0.0.0.0:0"})
    port = server.target.rpartition(":")[2]
    answer = (f"127.0.0.1:{port} SERVING\n", "")
    place = ("health", "--data-dir", str(directory / "d"), "--listen", "0.0.0.0:0")
    done = run(*place, **settings)
    assert (done.stdout, done.stderr) == answer
    make_certificate(directory)  # renewed, with another key
    done = run(*place, **settings)
    assert (done.stdout, done.stderr) == answer
    for path in (certificate, key):
        path.unlink()
    done = run(*place, **settings)
    assert (done.stdout, done.stderr) == answer
    done = run("health", "--listen", f"127.0.0.1:{port}")  # it finds out by itself that there is TLS
    assert (done.stdout, done.stderr) == answer


def test_health_of_a_server_without_tls_goes_through_no_proxy_and_tells_readiness_from_liveness(
    start: Callable[..., RunningServer], directory: Path
) -> None:
    server = start(settings={"PARLEY_SHUTDOWN_DELAY_SECONDS": "3600"})
    file = directory / "parley.yaml"
    file.write_text(f"listen: {server.target}\ntls: {{certificate_file: gone.crt, key_file: gone.key}}\n")
    proxy = dict.fromkeys(("http_proxy", "https_proxy", "grpc_proxy", "all_proxy"), "http://127.0.0.1:1")
    assert run("health", "--readiness", PARLEY_LISTEN=server.target, **proxy).stdout == f"{server.target} SERVING\n"
    assert run("health", PARLEY_CONFIG=str(file), PARLEY_WORKERS="many").stdout == f"{server.target} SERVING\n"
    host, port = split_listen(server.target)
    with pytest.raises(ProbeError, match=r"does not know the service 'none'"):
        probe(host, port, "none", timeout_seconds=5, has_tls=False)
    server.process.send_signal(signal.SIGTERM)
    wait_until(lambda: "serving on before the end" in server.text, what="the delay")
    for option in ((), ("--readiness",)):
        done = run("health", "--listen", server.target, *option)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == f"parley: {server.target} answers NOT_SERVING\n"
    assert run("health", "--listen", server.target, "--liveness").returncode == 0
    server.process.send_signal(signal.SIGTERM)


def test_health_without_a_server_fails_with_a_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        target = f"127.0.0.1:{unused.getsockname()[1]}"
    done = run("health", "--listen", target)
    assert done.returncode == 1
    assert done.stderr == f"parley: {target} does not answer: Connection refused\n"


def test_health_of_something_that_is_silent_ends_at_its_limit() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        target = f"127.0.0.1:{silent.getsockname()[1]}"
        done = run("health", "--listen", target, "--timeout", "0.3")
    assert (done.returncode, done.stderr) == (1, f"parley: {target} does not answer within 0.3 s\n")


@pytest.mark.parametrize(
    ("arguments", "status", "line"),
    [
        (("--listen", "nowhere"), 1, "'nowhere' is not allowed as the address: it must be host:port"),
        (("--timeout", "soon"), 2, "argument --timeout: invalid"),
        (("--config", "/nowhere.yaml"), 1, "can't read the configuration file /nowhere.yaml"),
        (("--listen", "127.0.0.1:0", "--data-dir", "/nowhere"), 1, "no server runs on the data directory /nowhere"),
    ],
)
def test_a_wrong_argument_is_one_line(arguments: tuple[str, ...], status: int, line: str) -> None:
    done = run("health", *arguments)
    assert (done.returncode, done.stderr.count("\n")) == (status, 1)
    assert done.stderr.startswith(f"parley: {line}")
