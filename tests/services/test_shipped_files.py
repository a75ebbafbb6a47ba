"""What is in deploy/ is taken by the programs that it is for."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.services import envoy, haproxy
from tests.services.site import Site
from tests.support.certificates import make_certificate

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"

pytestmark = pytest.mark.short


def run(*command: str | Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | {"PATH": f"{os.environ['PATH']}:/usr/sbin"} | variables
    words = [str(word) for word in command]
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=60, env=environment)


def test_envoy_takes_the_configuration(tmp_path: Path) -> None:
    text = envoy.SHIPPED.read_text(encoding="utf-8")
    certificate, key = make_certificate(tmp_path)
    text = text.replace("/etc/envoy/tls/tls.crt", str(certificate)).replace("/etc/envoy/tls/tls.key", str(key))
    configuration = tmp_path / "envoy.yaml"
    configuration.write_text(text, encoding="utf-8")
    done = run(envoy.PROGRAM, "--mode", "validate", "-c", configuration)
    assert done.returncode == 0, done.stderr
    broken = tmp_path / "broken.yaml"
    broken.write_text(text.replace("lb_policy: LEAST_REQUEST", "lb_policy: LEAST_REQUESTS"), encoding="utf-8")
    assert run(envoy.PROGRAM, "--mode", "validate", "-c", broken).returncode != 0


def test_haproxy_takes_the_configuration(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    both = tmp_path / "both.pem"
    both.write_bytes(certificate.read_bytes() + key.read_bytes())
    nodes = [("127.0.0.1:1", 2), ("127.0.0.1:3", 4)]
    text = haproxy.configuration(nodes, listen="127.0.0.1:5", socket=tmp_path / "socket", certificate=both)
    configuration = tmp_path / "haproxy.cfg"
    configuration.write_text(text, encoding="utf-8")
    done = run("haproxy", "-c", "-f", configuration)
    assert done.returncode == 0, done.stderr
    assert "[WARNING]" not in done.stderr
    configuration.write_text(text.replace("balance leastconn", "balance leastcon"), encoding="utf-8")
    assert run("haproxy", "-c", "-f", configuration).returncode != 0


def test_kubernetes_knows_every_field(tmp_path: Path) -> None:
    def validate(path: Path) -> "subprocess.CompletedProcess[str]":
        library = str(ROOT / "build" / "services")
        return run(sys.executable, "-m", "kubernetes_validate", "--strict", path, PYTHONPATH=library)

    manifest = DEPLOY / "kubernetes" / "parley.yaml"
    done = validate(manifest)
    assert done.returncode == 0, done.stdout + done.stderr
    broken = tmp_path / "broken.yaml"
    broken.write_text(manifest.read_text().replace("fsGroup:", "fsgroup:"))
    assert validate(broken).returncode != 0


def test_systemd_takes_the_unit(site: Site) -> None:
    text = (DEPLOY / "systemd" / "parley.service").read_text().replace("/opt/parley/bin/parley", "/bin/true")
    unit = site.write("parley.service", text)
    done = run("systemd-analyze", "verify", "--man=no", unit)
    assert done.returncode == 0, done.stderr
    assert "parley.service" not in done.stderr


def test_compose_is_prepared_once(tmp_path: Path) -> None:
    for name in ("compose/prepare.sh", "compose/compose.yaml"):
        target = tmp_path / Path(name).name
        target.write_bytes((DEPLOY / name).read_bytes())
    assert run("sh", tmp_path / "prepare.sh").returncode == 0
    made = {path.name: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert {"parley.env", "postgres.env", "tls.crt", "tls.key"} <= set(made)
    password = made["postgres.env"].decode().strip().partition("=")[2]
    assert f":{password}@postgres/parley" in made["parley.env"].decode()
    assert (tmp_path / "parley.env").stat().st_mode & 0o077 == 0
    assert run("sh", tmp_path / "prepare.sh").returncode == 0
    assert {path.name: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == made
