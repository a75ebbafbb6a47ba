"""The log: what appends to it in one call, pages of it, the commit feed, changed contents, and epochs of restores.

Imported by the service; imports `connections`. ADR 2 and ADR 3 are the pages.
"""
