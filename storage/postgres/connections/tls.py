"""TLS to PostgreSQL: what a URL asks for, as libpq means it, and the contexts that come of it.

The driver would make them itself, and stops at a home directory that it may not look into.
"""

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from storage.errors import Lasting
from storage.urls import UrlError

_ALPN = ["postgresql"]  # needed by PostgreSQL 17 for sslnegotiation=direct
_SYSTEM = "system"
MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")


@dataclass(frozen=True, slots=True)
class Tls:
    """What a URL, and PGSSL* variables below it, ask for.

    Attributes:
        mode: a value of libpq's sslmode.
        root_file: None: ~/.postgresql/root.crt if it is there; "system": the certificates of the system.
        certificate_file: None: ~/.postgresql/postgresql.crt if it is there, as for the key and the revocations.
        shows_certificate: whether the server is shown a certificate at all.
        is_direct: whether TLS begins without asking the server first.
    """

    mode: str
    root_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None
    key_password: str = field(default="", repr=False)
    revoked_file: str | None = None
    shows_certificate: bool = True
    is_direct: bool = False
    lowest: str = "TLSv1.2"
    highest: str | None = None

    @property
    def is_verified(self) -> bool:
        """Whether the server's certificate has to be vouched for."""
        return self.mode in ("verify-ca", "verify-full")


def to_tls(given: Mapping[str, str], environment: Mapping[str, str]) -> Tls:
    """Reads the parameters of a URL.

    Raises:
        UrlError: they are at odds.
    """

    def find(name: str) -> str | None:
        return given.get(name) or environment.get("PG" + name.replace("_", "").upper()) or None

    root = find("sslrootcert")
    old = {"true": "require", "require": "require", "false": "disable"}.get(given.get("ssl", ""))
    mode = given.get("sslmode") or old or environment.get("PGSSLMODE")
    mode = mode or ("verify-full" if root == _SYSTEM else "prefer")
    if mode not in MODES:  # of the environment; those of a URL were looked at
        raise UrlError(f"leaves sslmode to PGSSLMODE, which has a value that is none of {', '.join(MODES)}")
    if root == _SYSTEM and mode != "verify-full":
        raise UrlError(
            f"has sslrootcert=system with sslmode={mode}: the system's certificates need sslmode=verify-full"
        )
    is_direct = find("sslnegotiation") == "direct"
    if is_direct and mode in ("disable", "allow", "prefer"):
        raise UrlError(f"has sslnegotiation=direct with sslmode={mode}: it needs require, verify-ca or verify-full")
    return Tls(
        mode=mode,
        root_file=root,
        certificate_file=find("sslcert"),
        key_file=find("sslkey"),
        key_password=given.get("sslpassword", ""),
        revoked_file=find("sslcrl"),
        shows_certificate=given.get("sslcertmode") != "disable",
        is_direct=is_direct,
        lowest=find("ssl_min_protocol_version") or "TLSv1.2",
        highest=find("ssl_max_protocol_version"),
    )


def make_contexts(tls: Tls) -> tuple[ssl.SSLContext | bool, ...]:
    """Returns what to try, in order; False: without TLS. Reads the files.

    Raises:
        Lasting: a file can't be used; the text names its parameter.
    """
    if tls.mode == "disable":
        return (False,)
    context = _make_context(tls)
    if tls.mode == "allow":
        return (False, context)
    return (context, False) if tls.mode == "prefer" else (context,)


def _make_context(tls: Tls) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(_ALPN)
    context.minimum_version = _to_version(tls.lowest)
    if tls.highest:
        context.maximum_version = _to_version(tls.highest)
    if tls.mode not in ("allow", "prefer"):
        _load_root(context, tls)
        context.check_hostname = tls.mode == "verify-full"
    if tls.shows_certificate:
        _load_certificate(context, tls)
    return context


def _to_version(name: str) -> ssl.TLSVersion:
    try:
        return ssl.TLSVersion[name.replace(".", "_")]
    except KeyError:
        raise Lasting(f"the TLS version {name} is not known") from None


def _load_root(context: ssl.SSLContext, tls: Tls) -> None:
    """A root certificate is looked for in every mode from require on, as libpq does."""
    if tls.root_file == _SYSTEM:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        context.verify_mode = ssl.CERT_REQUIRED
        return
    root = _named("sslrootcert", tls.root_file) or find_home_file("root.crt")
    if root is None:
        if tls.is_verified:
            raise Lasting(
                f"sslmode={tls.mode} needs sslrootcert=FILE, or sslrootcert=system for the system's certificates;"
                " there is no ~/.postgresql/root.crt that can be read"
            )
        return
    _load("sslrootcert", root, context)
    context.verify_mode = ssl.CERT_REQUIRED
    revoked = _named("sslcrl", tls.revoked_file) or find_home_file("root.crl")
    if revoked is not None:
        _load("sslcrl", revoked, context)
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN


def _load(parameter: str, path: Path, context: ssl.SSLContext) -> None:
    try:
        context.load_verify_locations(cafile=path)
    except (ssl.SSLError, OSError):
        raise Lasting(f"{parameter}: {path} has no certificate in PEM form") from None


def _load_certificate(context: ssl.SSLContext, tls: Tls) -> None:
    certificate = _named("sslcert", tls.certificate_file) or find_home_file("postgresql.crt")
    if certificate is None:
        return
    key = _named("sslkey", tls.key_file) or find_home_file("postgresql.key")
    try:
        context.load_cert_chain(certificate, keyfile=key, password=lambda: tls.key_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise Lasting(f"sslkey: {key or certificate} is not the key of the certificate {certificate}") from None
        raise Lasting(
            f"sslcert: {certificate} and its key {key or certificate} can't be used"
            f" ({error.reason or 'no PEM'}); a key with a password needs sslpassword"
        ) from None
    except OSError as error:
        raise Lasting(f"sslcert: {certificate} can't be used: {error.strerror}") from None


def _named(parameter: str, name: str | None) -> Path | None:
    """Returns the path of a file that is named, and sees to it that it can be read."""
    if name is None:
        return None
    path = Path(name).expanduser()
    try:
        with path.open("rb"):
            return path
    except OSError as error:
        raise Lasting(f"{parameter}: can't read {path}: {error.strerror}") from None


def find_home_file(name: str) -> Path | None:
    """Returns a file of ~/.postgresql when it can be read; a home that is another user's has none."""
    try:
        path = Path.home() / ".postgresql" / name
        return path if os.access(path, os.R_OK) else None
    except (RuntimeError, KeyError):
        return None
