"""Starts the terminal chat, from wherever it lies."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from terminal_chat.app import main

main()
