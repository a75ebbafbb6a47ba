"""Accounts, conversations and the log, in PostgreSQL."""
