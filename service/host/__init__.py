"""`parley serve` from the outside: starts workers and databases, keeps them running, and answers scrapes.

Stays small: it loads neither gRPC nor a database driver, but for the process that prepares. Imported by `cli`, and by
`worker` for what the two say to each other; never imports `worker`, `rpc` or `cli`. docs/architecture.md is the page.
"""
