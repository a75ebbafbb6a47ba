"""Records to protobuf and back, one file a resource; errors to statuses; messages as ready bytes.

Nothing here waits, reads or writes. Imported by `delivery` and the rooms above it; imports `auth` and `domain`.
docs/architecture.md has a send from one end to the other.
"""
