"""The examples lie beside the stubs, not on the import path."""

import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "clients" / "python" / "examples"
sys.path.append(str(EXAMPLES))
