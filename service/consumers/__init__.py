"""Devices with manual acknowledgement: groups of streams, claims, redelivery and dead letters.

Imported by `rpc` and `worker`; imports `delivery` and the rooms below it. docs/manual-acks.md is the page.
"""
