"""The signing keys of compose.yaml are made once, by the command that stands there."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from service.auth.keys import load_keys

COMPOSE: Any = yaml.safe_load((Path(__file__).parents[2] / "deploy" / "compose" / "compose.yaml").read_text())


def test_keys_are_made_once(tmp_path: Path) -> None:
    service = COMPOSE["services"]["keys"]
    keys_file = tmp_path / "keys.json"
    assert service["environment"] == {"PARLEY_AUTH_KEYS_FILE": "/var/lib/parley/keys.json"}
    environment = {"PATH": f"{Path(sys.executable).parent}:{os.defpath}", "PARLEY_AUTH_KEYS_FILE": str(keys_file)}
    contents = set()
    for _ in range(2):
        subprocess.run(service["entrypoint"], cwd=tmp_path, env=environment, check=True, timeout=60)
        contents.add(keys_file.read_bytes())
    assert len(contents) == 1
    load_keys(keys_file)
    assert keys_file.stat().st_mode & 0o077 == 0
