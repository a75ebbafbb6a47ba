"""Accounts and logins: what calls need of them, what operators see of them, exports and erasure.

Imported by the service; imports `connections`. ADR 16 and docs/operations/accounts.md are the pages.
"""
