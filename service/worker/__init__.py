"""A worker from the inside: the gRPC server, its parts put together, its jobs, its health, and its way out.

The rooms below it do not import this one; nor do `host` and `cli`, which start it as a process of its own. It imports
the constants of that process from `host`. docs/architecture.md is the page.
"""
