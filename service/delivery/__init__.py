"""From a stored entry to every session: hub, channels, sessions, replay, fan-out and the messages of the bus.

Nothing here stores messages or knows of calls. Imported by `messages`, `consumers`, `presence`, `receipts`, `rpc` and
`worker`; imports `convert` and the rooms below it. docs/architecture.md is the page.
"""
