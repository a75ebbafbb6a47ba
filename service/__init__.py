"""The server process, and the command `parley`. docs/architecture.md shows the rooms and what may import what."""
