"""Chat and Subscribe: a stream's two loops, and what each frame does.

Imported by `rpc` and `worker`. docs/architecture.md is the page.
"""
