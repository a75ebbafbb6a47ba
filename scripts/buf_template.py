"""Prints buf.gen.yaml without the plugins of some clients, for machines without their tools. Arguments: CLIENT..."""

import json
import sys
from pathlib import Path

import yaml

template = yaml.safe_load(Path("buf.gen.yaml").read_text())
template["plugins"] = [plugin for plugin in template["plugins"] if plugin["out"].split("/")[1] not in sys.argv[1:]]
print(json.dumps(template))
