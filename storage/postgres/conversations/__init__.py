"""Conversations, members and how far they have read: a module a table.

Imported by the service; imports `connections` and `log`. ADR 5 is the page.
"""
