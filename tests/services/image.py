"""The image of the Dockerfile: built by buildah, without a registry of images, and run as its settings say.

    with built_image(folder) as image, image.running(image.make_volume(elsewhere)) as container:
        ...

The Dockerfile is built as it is. What it begins with, `python:3.11-slim-bookworm`, is a stand-in that is made here of
Debian's own packages, since CI reaches no registry of images.
"""

import contextlib
import json
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.services.debian import Debian

ROOT = Path(__file__).parents[2]
PYTHON = "3.11"  # what Debian 12 has
_TAG = "localhost/parley:tested"


@dataclass(slots=True)
class Container:
    """A program that runs in the image, and what it wrote."""

    process: "subprocess.Popen[str]"
    output: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All it wrote so far."""
        return "\n".join(self.output)

    def execute(self, *arguments: str, user: str, environment: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
        """Runs a command beside it, as `docker exec` does."""
        enter = ["nsenter", f"--target={self.process.pid}", "--mount", "--net", "--root", "--wd", "setpriv"]
        as_user = [f"--reuid={user}", f"--regid={user}", "--clear-groups", "env", "-i"]
        variables = [f"{name}={value}" for name, value in environment.items()]
        return subprocess.run(
            [*enter, *as_user, *variables, *arguments], capture_output=True, text=True, check=False, timeout=30
        )


@dataclass(frozen=True, slots=True)
class Image:
    """A built image: its files, and what it says of how it is run."""

    files: Debian
    settings: Mapping[str, Any]

    @property
    def environment(self) -> dict[str, str]:
        """The variables that a container of it has."""
        return dict(variable.split("=", 1) for variable in self.settings["Env"])

    @contextlib.contextmanager
    def running(
        self, volume: Path, *, is_read_only: bool = False, has_own_network: bool = True, **variables: str
    ) -> Iterator[Container]:
        """Starts it as `docker run` does, as its user and with a volume; ends it at the end."""
        (place,) = self.settings["Volumes"]
        command = self.files.command(
            *self.settings["Entrypoint"],
            *self.settings["Cmd"],
            user=f"{self.settings['User']}:",
            where=self.settings["WorkingDir"],
            environment=self.environment | variables,
            volume=(volume, place),
            is_read_only=is_read_only,
            has_own_network=has_own_network,
        )
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        container = Container(process)
        reader = threading.Thread(target=_collect, args=(container,), daemon=True)
        reader.start()
        try:
            yield container
        finally:
            process.terminate()
            try:
                process.wait(30)
            finally:
                process.kill()
            reader.join(10)

    def make_volume(self, folder: Path) -> Path:
        """Makes a new volume: as Docker does, with the owner and the mode that the directory has in the image."""
        (place,) = self.settings["Volumes"]
        found = (self.files.folder / place.removeprefix("/")).stat()
        folder.mkdir()
        shutil.chown(folder, found.st_uid, found.st_gid)
        folder.chmod(found.st_mode & 0o7777)
        return folder


@contextlib.contextmanager
def built_image(folder: Path) -> Iterator[Image]:
    """Builds the image of this checkout; removes all of it at the end.

    Raises:
        AssertionError: a step failed; the text is the end of what the builder said.
    """
    storage = ("--storage-driver=vfs", f"--root={folder / 'storage'}", f"--runroot={folder / 'run'}")

    def buildah(*arguments: str) -> str:
        done = subprocess.run(["buildah", *storage, *arguments], capture_output=True, text=True, check=False, cwd=ROOT)
        assert done.returncode == 0, f"buildah {arguments[0]} failed:\n{(done.stdout + done.stderr)[-4000:]}"
        return done.stdout.strip()

    try:
        _make_base(buildah("from", "--name=base", "scratch"), buildah)
        build = ("bud", "--format=docker", "--isolation=chroot", "--network=host", "--pull-never")
        buildah(*build, f"--build-arg=PYTHON={PYTHON}", "--build-arg=PARLEY_COMMIT=tested", f"--tag={_TAG}", ".")
        container = buildah("from", "--pull-never", _TAG)
        described = json.loads(buildah("inspect", "--type=image", _TAG))
        yield Image(Debian(Path(buildah("mount", container))), described["Docker"]["config"])
    finally:
        with contextlib.suppress(AssertionError):  # nothing was made
            buildah("umount", "--all")
        shutil.rmtree(folder)


def _make_base(container: str, buildah: Any) -> None:
    """Makes the stand-in for what the Dockerfile begins with."""
    base = Debian(Path(buildah("mount", container)))
    base.unpack()
    base.install("python3-venv")
    (base.folder / "usr/local/bin/python").symlink_to("/usr/bin/python3")
    buildah("umount", container)
    buildah("commit", "--rm", container, f"localhost/python:{PYTHON}-slim-bookworm")


def _collect(container: Container) -> None:
    assert container.process.stdout is not None
    with container.process.stdout as lines:
        for line in lines:
            container.output.append(line.rstrip("\n"))
