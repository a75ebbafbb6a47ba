"""Faults in the middle of traffic: a harness, a history of what clients saw, and a checker. docs/reliability.md."""
