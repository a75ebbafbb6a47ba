"""Settings. Each setting is declared once, in `tree.py`: its name, type, default, limits and description.

`load.py` reads the values from variables (`variables.py`), the file (`file.py`) and flags, and checks them with a
pydantic model that `validate.py` derives from the tree. `render.py` prints them. `handoff.py` passes them to workers,
which load neither pydantic nor YAML. Every room may import this one; it imports nothing of the service. The effect of a
setting is not here. docs/configuration.md shows every setting.
"""
