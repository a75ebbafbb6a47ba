"""Who is online: what this worker tells Redis of its sessions, and what it tells watchers of others.

Imported by `rpc` and `worker`; imports `delivery` and the rooms below it. ADR 12 is the page.
"""
