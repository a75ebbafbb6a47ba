"""PostgreSQL and Redis; knows nothing of gRPC or of the service."""
