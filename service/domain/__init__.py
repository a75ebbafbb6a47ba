"""Rules and words that the rest of the service shares: errors, checks of values, permissions, page tokens, hashes.

No I/O, no protobuf, no asyncio tasks. Every room may import this one; it imports nothing of the service.
docs/errors.md is the table of `errors.py`, docs/architecture.md the page.
"""
