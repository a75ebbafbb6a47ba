"""Parley with other people's servers: PostgreSQL 15, PgBouncer, Redis 7, HAProxy, Envoy, Patroni, Prometheus.

Also the image of the Dockerfile, and `make run` on a new machine.

`make test-services` installs them (scripts/service_tools.sh) and runs these tests; those marked `short` are part of
`make check`. Each test has its own servers, in a temporary directory and on free ports, and leaves none of them.
"""
