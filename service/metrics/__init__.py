"""Metrics: each part counts for itself, a worker publishes the counts in shared memory, the supervisor shows them.

Imported by every room but `domain` and `settings`; imports `domain`.
`catalogue.py` names every metric; docs/operations/watching.md shows the same table; ADR 11 says why there are no files.
"""
