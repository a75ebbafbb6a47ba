"""The conformance suite: plays the scenarios in `scenarios/` on the runner of each language (README.md)."""
