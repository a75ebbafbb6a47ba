"""Authentication: accounts and logins, passwords, tokens, and the keys that sign tokens.

This room does not know gRPC or streams. `convert` and the rooms above it import it, `host` for the keys, and `cli`; it
imports `domain`. docs/operations/keys.md is the operator's page.
"""
