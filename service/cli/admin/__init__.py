"""What an operator does beside a running server: accounts, logins, devices, tokens, epochs.

Each module has one noun. The commands of `service/cli` call these and print; the SQL is in `storage/postgres/`.
"""
