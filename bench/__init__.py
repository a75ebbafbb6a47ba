"""Parley's load generator and verifier: measures a running server through the generated stubs, and checks what it did."""
