"""The schema: migrations and their lock, the database's identity, and its upkeep.

`migrations/` has a file a step; released ones never change. `functions/` has the SQL functions as they are now, to be
read; migrations make them (ADR 23). Imported by what starts a server and by `cli`; imports
`connections`. docs/operations/upgrade.md and docs/operations/growth.md are the pages.
"""
