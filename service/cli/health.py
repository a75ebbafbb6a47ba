"""`parley health`: asks a server whether it serves. Containers run it every few seconds, so it is cheap.

It reads no more of the settings than where the server is, and takes no notice of what is wrong with the others.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from service.cli.health_probe import SERVING, STATUSES, ProbeError, probe
from service.host.running_server import find_server
from service.settings.host_port import split_listen
from service.settings.variables import read_variables

_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "127.0.0.1"}  # noqa: S104 # listened on, not bound
_DEFAULTS = {"listen": "127.0.0.1:50051", "data_dir": ".parley", "certificate_file": ""}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Ends with one line, and the status of a wrong command line."""
        sys.stderr.write(f"parley: {message}; `parley health --help` shows the options\n")
        sys.exit(2)


def main(arguments: Sequence[str]) -> int:
    """Runs the command; returns 0 where the server serves, else 1."""
    options = _to_parser().parse_args(arguments)
    try:
        place = _read_settings(options)
        host, port = _find_address(place)
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            status = probe(
                host,
                port,
                options.service,
                timeout_seconds=options.timeout,
                has_tls=bool(place["certificate_file"]),
            )
        except ProbeError as error:
            raise ProbeError(f"{address} {error}") from None
    except ProbeError as error:
        sys.stderr.write(f"parley: {error}\n")
        return 1
    if status != SERVING:
        sys.stderr.write(f"parley: {address} answers {STATUSES.get(status, status)}\n")
        return 1
    sys.stdout.write(f"{address} SERVING\n")
    return 0


def _to_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="parley health",
        description="Ask a running server whether it serves (grpc.health.v1); exit status 0 if so, else 1.",
        allow_abbrev=False,
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--readiness",
        dest="service",
        action="store_const",
        const="readiness",
        help="whether to send calls there; the default asks the same of servers of any age",
    )
    which.add_argument(
        "--liveness",
        dest="service",
        action="store_const",
        const="liveness",
        help="whether the server runs, also while its database is away",
    )
    parser.add_argument("--listen", metavar="HOST:PORT", help="the server's address; default: that of the settings")
    parser.add_argument("--data-dir", metavar="DIR", help="the server's data directory; default: .parley")
    parser.add_argument("--config", metavar="FILE", help="YAML file with settings (instead of PARLEY_CONFIG)")
    parser.add_argument(
        "--timeout", metavar="SECONDS", type=_to_seconds, default=3.0, help="how long to wait for an answer; default: 3"
    )
    parser.set_defaults(service="")
    return parser


def _to_seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds <= 3600:
        raise ValueError
    return seconds


def _read_settings(options: argparse.Namespace) -> dict[str, str]:
    """Returns where the server is, from flags, the environment, the file, or the defaults; the earlier count."""
    environment = read_variables(os.environ)
    path = options.config or environment.get("PARLEY_CONFIG")
    file = _read_file(path) if path else {}
    tls = file.get("tls") or {}
    found = {
        "listen": options.listen or environment.get("PARLEY_LISTEN") or file.get("listen"),
        "data_dir": options.data_dir or environment.get("PARLEY_DATA_DIR") or file.get("data_dir"),
        "certificate_file": environment.get("PARLEY_TLS_CERTIFICATE_FILE")
        or (tls.get("certificate_file") if isinstance(tls, dict) else None),
    }
    return {name: str(value or _DEFAULTS[name]) for name, value in found.items()}


def _read_file(path: str) -> dict[str, Any]:
    # Only where there is a file: YAML takes a while to load.
    from service.settings.file import SettingsFileError, read_settings_file

    try:
        return read_settings_file(os.path.expanduser(path))  # noqa: PTH111 # as below
    except SettingsFileError as error:
        raise ProbeError(str(error)) from None


def _find_address(place: dict[str, str]) -> tuple[str, int]:
    try:
        host, port = split_listen(place["listen"])
        if port == 0:  # only the server knows which one it got
            server = find_server(place["data_dir"])
            if server is None or "listen" not in server:
                raise ProbeError(f"no server runs on the data directory {place['data_dir']}")
            host, port = split_listen(server["listen"])
    except ValueError as error:
        raise ProbeError(f"{place['listen']!r} is not allowed as the address: it {error}") from None
    return _WILDCARDS.get(host, host), port
