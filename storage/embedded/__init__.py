"""A private PostgreSQL and Valkey for the zero-configuration start: child processes in the data directory.

They listen on Unix sockets alone, end with the process that started them (also when that is killed), and recover by
themselves at the next start. The data directory is one process's at a time: who starts them holds its lock.
"""

from storage.embedded.children import EmbeddedError
from storage.embedded.postgres import EmbeddedPostgres
from storage.embedded.valkey import EmbeddedValkey

__all__ = ["EmbeddedError", "EmbeddedPostgres", "EmbeddedValkey"]
