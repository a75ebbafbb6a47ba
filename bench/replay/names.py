"""The mapping of nicknames to user names. Pure.

A nickname that is a legal user name (3 to 32 of a-z 0-9 _ . -, beginning with a letter or digit) is its own user name.
Every other one becomes `stem.digest`: the stem is the nickname in lower case with each character that is not allowed
replaced by `_`, cut to 23 characters; the digest is the first eight hexadecimal digits of the SHA-256 of the
nickname's UTF-8. So `Seveas` and `seveas` are two users, as they are two nicknames.

It is one to one: what is legal but looks like `stem.digest`, or begins with `replay.` (the tool's own users), is
treated as not legal. Should two nicknames ever share stem and digest, the later one in sorted order takes the next
digits of its SHA-256; otherwise a nickname has the same user name in every run, whatever files it reads.
"""

import hashlib
import re
from collections.abc import Iterable

HOST = "replay.host"
"""Owns the groups, adds those who join, and pulls in the end."""
LISTENER = "replay.listener"
"""Is a member of every group from the start and says nothing."""

_LEGAL = re.compile(r"[a-z0-9][a-z0-9_.-]{2,31}")
_DERIVED = re.compile(r".*\.[0-9a-f]{8}")
_NOT_ALLOWED = re.compile(r"[^a-z0-9_.-]")
_STEM_LENGTH = 23
_DIGEST_LENGTH = 8


def make_names(nicknames: Iterable[str]) -> dict[str, str]:
    """Returns the user name of each nickname; no two have the same."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for nickname in sorted(set(nicknames)):
        name = nickname if _keeps_its_name(nickname) else _derive(nickname, taken)
        names[nickname] = name
        taken.add(name)
    return names


def _keeps_its_name(nickname: str) -> bool:
    return bool(_LEGAL.fullmatch(nickname)) and not _DERIVED.fullmatch(nickname) and not nickname.startswith("replay.")


def _derive(nickname: str, taken: set[str]) -> str:
    # Surrogates can't come from a decoded file; "surrogatepass" keeps the function total all the same.
    digest = hashlib.sha256(nickname.encode("utf-8", "surrogatepass")).hexdigest()
    stem = _NOT_ALLOWED.sub("_", nickname.lower())[:_STEM_LENGTH]
    if not stem[:1].isalnum():
        stem = f"x{stem}"[:_STEM_LENGTH]
    candidates = (f"{stem}.{digest[at : at + _DIGEST_LENGTH]}" for at in range(len(digest) - _DIGEST_LENGTH + 1))
    return next(name for name in candidates if name not in taken)
