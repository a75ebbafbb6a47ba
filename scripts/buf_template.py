"""Prints a buf template without the plugins of some clients, for machines without their tools: TEMPLATE CLIENT..."""

import json
import sys
from pathlib import Path

import yaml

path, *absent = sys.argv[1:]
template = yaml.safe_load(Path(path).read_text())
template["plugins"] = [plugin for plugin in template["plugins"] if plugin["out"].split("/")[1] not in absent]
print(json.dumps(template))
