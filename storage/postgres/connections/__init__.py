"""The way to PostgreSQL: the URL, the primary behind it, the pool, time limits, and what is wrong with a server.

`capabilities.py` says what a server and our role must be able to do. No table of ours is named here. Imported by the
other rooms of `storage/postgres` and by what starts a server; imports `storage` alone. ADR 8 and
docs/operations/databases.md are the pages.
"""
