"""A deployment's data as one file that does not depend on PostgreSQL's version: `parley export-database`.

`form.py` is what the file looks like, `export.py` writes one, `load.py` reads one into an empty schema. What belongs to
running servers is left out: the commit feed, word of changed contents, the workers and their open streams.
docs/operations/upgrade.md explains when to use it.
"""
