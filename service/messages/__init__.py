"""The verbs about messages (`service.py`), and how messages get into the log: a writer with lanes that store batches.

Nothing here knows of calls; of a stream only its session. Imported by `rpc` and `worker`; imports `delivery` and the
rooms below it. docs/architecture.md, "One send", is the page.
"""
