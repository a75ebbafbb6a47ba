"""The schema: migrations and their lock, the database's identity, and its upkeep.

`migrations/` has a file a step; released ones never change. Imported by what starts a server and by `cli`; imports
`connections`. docs/operations/upgrade.md and docs/operations/growth.md are the pages.
"""
