"""Who calls: accounts and logins, passwords, tokens and the keys that sign them.

Nothing here knows of gRPC or of streams. Imported by `convert` and the rooms above it, by `host` for the keys and by
`cli`; imports `domain`. docs/operations/keys.md is the operator's page.
"""
