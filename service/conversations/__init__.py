"""Conversations and their members: each verb checks, does, and announces after the commit.

Messages are not here. Imported by `rpc`, `worker` and `cli`; imports `domain`. docs/architecture.md is the page.
"""
