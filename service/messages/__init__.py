"""How messages get into the log: lanes that store batches, what they may hold, and what becomes of a failed batch.

Nothing here knows of calls or frames. Imported by `rpc` and `worker`; imports `delivery` and the rooms below it.
docs/architecture.md, "One send", is the page.
"""
