"""URLs of databases: taken apart, checked, shown without secrets, and made. Pure.

Which schemes and parameters a database takes is in `postgres/connections/target.py` and `redis/urls.py`. No text of an
error here, or of one that is made of what is here, has a part of the URL that can be a piece of a password.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote

ENCODE = (
    'percent-encode the password ("@" is %40, ":" %3A, "/" %2F, "?" %3F, "#" %23, "%" %25, "[" %5B, "]" %5D,'
    " a space %20), and any other part that has such a character"
)
_BAD_CODE = re.compile(r"%(?![0-9A-Fa-f]{2})|%00")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}")
_BRACKETED = re.compile(r"\[([0-9A-Fa-f:.]+(?:%[\w.%-]+)?)\](?::([^:]*))?")
_HOST_NAME = re.compile(r"[\w.-]+")
_PARAMETER_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,62}")
_SECRET_PARAMETER = re.compile(r"((?:^|&)[^=&]*(?:password|secret|token)[^=&]*=)[^&]*", re.IGNORECASE)


class UrlError(ValueError):
    """A URL can't be used; the text goes on after "it": what it must, or has."""


@dataclass(frozen=True, slots=True)
class Host:
    """A server's address; that of a Unix socket is the socket's directory.

    Attributes:
        port: None: the usual one.
    """

    name: str
    port: int | None = None

    def __str__(self) -> str:
        name = f"[{self.name}]" if ":" in self.name and not self.is_socket else self.name
        return name if self.port is None else f"{name}:{self.port}"

    @property
    def is_socket(self) -> bool:
        """Whether it is the directory of a Unix socket."""
        return self.name.startswith("/")


@dataclass(frozen=True, slots=True)
class Url:
    """The parts of a URL, decoded.

    Attributes:
        scheme: in small letters.
        username: None where the URL has none, as `password`.
        hosts: in their order; none where the URL names none.
        encoded_path: with its leading slash, still percent-encoded; "" where there is none.
        encoded: the parameters by name, their values still percent-encoded; of equal names the last one.
    """

    scheme: str
    username: str | None
    password: str | None = field(repr=False)
    hosts: tuple[Host, ...]
    encoded_path: str
    encoded: Mapping[str, str] = field(repr=False)

    @property
    def path(self) -> str:
        """The path, decoded."""
        return decode(self.encoded_path)

    @property
    def parameters(self) -> dict[str, str]:
        """The parameters, decoded."""
        return {name: decode(value) for name, value in self.encoded.items()}


def split_url(text: str, schemes: Sequence[str] = ()) -> Url:
    """Takes a URL apart.

    Args:
        schemes: those that are allowed; empty: any.

    Raises:
        UrlError: it is none, or has a character where it can't tell of which part that is.
    """
    scheme, separator, rest = text.partition("://")
    if not separator or not _SCHEME.fullmatch(scheme) or (schemes and scheme.lower() not in schemes):
        raise UrlError(f"must begin with {' or '.join(f'{scheme}://' for scheme in schemes or ('scheme',))}")
    authority, path, query = _cut(rest)
    credentials, _, place = authority.rpartition("@")
    if "@" in credentials or "[" in credentials or "]" in credentials:
        raise UrlError(f'has an "@" or a bracket before the host: {ENCODE}')
    username, _, password = credentials.partition(":")
    return Url(
        scheme.lower(),
        decode(username) or None,
        decode(password) or None,
        tuple(to_host(part) for part in place.split(",")) if place else (),
        path,
        dict(_split_parameter(part) for part in query.split("&") if part),
    )


def _cut(rest: str) -> tuple[str, str, str]:
    """Returns authority, path and query of what follows the scheme; refuses text that makes them uncertain."""
    if any(character.isspace() or not character.isprintable() for character in rest):
        raise UrlError(f"has a space or another character that is not seen: {ENCODE}")
    if "#" in rest:
        raise UrlError(f'has a "#": {ENCODE}')
    if _BAD_CODE.search(rest):
        raise UrlError(f'has a "%" that begins no code of two hexadecimal digits: {ENCODE}')
    authority = re.split(r"[/?]", rest, maxsplit=1)[0]
    path, _, query = rest[len(authority) :].partition("?")
    if "@" in path or "@" in query:
        raise UrlError(f'has an "@" after a "/" or a "?": {ENCODE}')
    return authority, path, query


def to_host(text: str) -> Host:
    """Returns an address as a URL has it: a name, an IPv4 address, an IPv6 address in brackets, or a directory.

    Raises:
        UrlError: it is none.
    """
    if text.startswith("["):
        found = _BRACKETED.fullmatch(text)
        if found is None:
            raise UrlError(f"has a bracket that is no IPv6 address's: {ENCODE}")
        return Host(decode(found[1]), to_port(found[2] or ""))
    encoded, _, port = text.partition(":")
    if ":" in port:
        raise UrlError(f"has several colons in a host: put an IPv6 address into brackets, or {ENCODE}")
    name = decode(encoded)
    number = to_port(port)
    if not name:
        raise UrlError("has an empty host in its list of hosts")
    if not name.startswith("/") and not _HOST_NAME.fullmatch(name):
        raise UrlError(f"has a host with a character that no host name has: {ENCODE}")
    return Host(name, number)


def to_port(text: str) -> int | None:
    """Returns a port's number; None for none.

    Raises:
        UrlError: it is no port.
    """
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) < 65_536):
        raise UrlError(f"has a port that is no number from 1 to 65535; if that is a piece of the password: {ENCODE}")
    return int(text)


def _split_parameter(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator or not _PARAMETER_NAME.fullmatch(name):
        raise UrlError(f"has a parameter that is not name=value; if that is a piece of the password: {ENCODE}")
    return name, value


def decode(text: str) -> str:
    """Returns percent-encoded text in clear; bytes that are no UTF-8 as file names have them."""
    return unquote(text, errors="surrogateescape")


def encode_path(path: Path) -> str:
    """Returns a path as a part of a URL; any that the file system allows."""
    return quote(os.fsencode(path), safe="/")


def mask_url(text: str) -> str:
    """Returns a URL as it may be shown: without its password and those among its parameters.

    Of what can't be taken apart nothing but the scheme is shown.
    """
    scheme, _, rest = text.partition("://")
    try:
        split_url(text)
    except UrlError:
        return f"{scheme}://***" if rest and _SCHEME.fullmatch(scheme) else "***"
    authority, path, query = _cut(rest)
    credentials, at, place = authority.rpartition("@")
    username, colon, _ = credentials.partition(":")
    if not colon and not scheme.lower().startswith("postgres"):
        username = username and "***"  # to Redis a name alone is a password that was put into the wrong place
    shown = _SECRET_PARAMETER.sub(r"\1***", query)
    return f"{scheme}://{username}{colon and ':***'}{at}{place}{path}{shown and f'?{shown}'}"
