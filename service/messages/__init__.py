"""The verbs about messages (`service.py`) and acks (`acks.py`), and how messages get into the log by group commit.

Nothing here knows of calls; of a stream only its session. Imported by `rpc` and `worker`; imports `delivery` and the
rooms below it. docs/architecture.md, "One send", is the page.
"""
