"""Parley's load generator and verifier: measures a running server through the generated stubs, checks what it did."""
