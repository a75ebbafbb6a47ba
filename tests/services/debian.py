"""A Debian 12 of its own to work in, as a directory: nothing in it but Python and make, as on a new machine.

    with unpacked(folder) as debian:
        subprocess.run(debian.command("make", "run", user="1000:1000", where="/home/newcomer/parley"))

What is run has mounts of its own, which end with it; nothing is left mounted. Only root can do so. pip is set up as on
this machine, so that packages come from where they come from here.
"""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_PACKAGES = "python3,make,ca-certificates"
_KEPT = _ROOT / "build" / "services" / "bookworm.tar"
_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Mounts what programs expect, then becomes the program. Arguments: its root, where its volume is and comes, or "" and
# "", then the rest of chroot's command line.
_ENTER = """
root=$1 volume=$2 place=$3
shift 3
[ "$OWN_NETWORK" = no ] || ip link set lo up
mount --bind "$root" "$root"
mount --rbind /dev "$root/dev"
mount --rbind /proc "$root/proc"
[ -z "$volume" ] || mount --bind "$volume" "$root$place"
[ "$READ_ONLY" = no ] || mount -o remount,bind,ro "$root"
exec chroot "$@"
"""


@dataclass(frozen=True, slots=True)
class Debian:
    """A directory with a Debian in it, or with what an image is made of."""

    folder: Path

    def unpack(self) -> None:
        """Makes it, by debootstrap the first time and from a kept archive later."""
        if not _KEPT.exists():
            _bootstrap()
        self.folder.mkdir(parents=True, exist_ok=True)
        _done("tar", "--extract", "--numeric-owner", f"--file={_KEPT}", f"--directory={self.folder}")
        self.connect()

    def connect(self) -> None:
        """Lets names be found and packages be fetched in it, as on this machine."""
        for path in map(Path, ("/etc/resolv.conf", "/etc/hosts", "/etc/pip.conf", str(_CERTIFICATES))):
            if path.exists():
                there = self.folder / path.relative_to("/")
                there.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, there)

    def install(self, *packages: str) -> None:
        """Installs packages of Debian's, as its administrator does."""
        for words in (("update",), ("install", "--no-install-recommends", *packages)):
            self.run("apt-get", "-qq", "-y", *words)

    def command(
        self,
        *arguments: str,
        user: str = "0:0",
        where: str = "/",
        environment: Mapping[str, str] | None = None,
        volume: tuple[Path, str] | None = None,
        is_read_only: bool = False,
        has_own_network: bool = False,
    ) -> list[str]:
        """Returns a command line that runs a command in it; the process that it starts becomes that of the command.

        Args:
            user: user:group, names or numbers; "name:" takes the groups of that user.
            volume: a directory outside, and where it is seen inside.
            has_own_network: loopback alone, so that ports are free.
        """
        outside, inside = volume or ("", "")
        switches = [f"OWN_NETWORK={'yes' if has_own_network else 'no'}", f"READ_ONLY={'yes' if is_read_only else 'no'}"]
        variables = {"PATH": _PATH, "DEBIAN_FRONTEND": "noninteractive"} | pip_variables() | dict(environment or {})
        return [
            *("env", *switches, "unshare", "--mount", "--propagation=private"),
            *(["--net"] if has_own_network else []),
            *("sh", "-euc", _ENTER, "enter", str(self.folder), str(outside), inside),
            *(f"--userspec={user}", str(self.folder), "env", "-i", "-C", where),
            *(f"{name}={value}" for name, value in variables.items()),
            *arguments,
        ]

    def run(self, *arguments: str) -> str:
        """Runs a command to its end as root; gives what it said.

        Raises:
            AssertionError: it failed.
        """
        return _done(*self.command(*arguments))


@contextlib.contextmanager
def unpacked(folder: Path) -> Iterator[Debian]:
    """Makes one, and removes it at the end."""
    debian = Debian(folder)
    try:
        debian.unpack()
        yield debian
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def pip_variables() -> dict[str, str]:
    """Returns the variables of this machine that say where packages come from."""
    names = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST", "http_proxy", "https_proxy", "no_proxy")
    return {name: os.environ[name] for name in names if name in os.environ}


def _bootstrap() -> None:
    making = _KEPT.with_suffix(f".{os.getpid()}")
    shutil.rmtree(making, ignore_errors=True)
    try:
        _done("debootstrap", "--variant=minbase", f"--include={_PACKAGES}", "bookworm", str(making))
        archive = making.with_suffix(".part")
        _done(
            "tar",
            "--create",
            "--numeric-owner",
            "--exclude=./dev/*",
            "--exclude=./var/cache/apt/archives/*.deb",
            f"--file={archive}",
            f"--directory={making}",
            ".",
        )
        archive.rename(_KEPT)
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _done(*command: str) -> str:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, f"{command[0]} failed:\n{done.stdout[-3000:]}"
    return done.stdout
