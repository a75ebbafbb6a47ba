"""What an operator does beside a running server: accounts, logins, devices, tokens, epochs.

Each module has one noun. The command line (`service/cli_*.py`) calls these and prints; the SQL is in
`storage/postgres/`.
"""
