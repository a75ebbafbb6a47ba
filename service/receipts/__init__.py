"""Read and delivery receipts: how far others have come, told to those who watch.

Imported by `rpc` and `worker`; imports `delivery` and the rooms below it. docs/architecture.md is the page.
"""
