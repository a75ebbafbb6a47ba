"""What storage can fail with, free of drivers.

StorageError
  Unavailable     the store can't be reached, or answers too late; the same call may succeed later
    OutcomeUnknown  a write was sent and its answer did not come
    Lasting         waiting does not mend it: a setting, a file, a grant
    LockTimeout     a row stayed locked by another for longer than a write waits
  Conflict        a unique key is taken
  Absent          what the call is about does not exist
    UserAbsent      a user that the call names does not exist, or not any more
  MigrationError  the schema can't be brought up to date
  BadData         the store can't hold the value; repeating does not help
"""


class StorageError(Exception):
    """Base of all."""


class Unavailable(StorageError):
    """The store can't be reached, or answers too late."""


class OutcomeUnknown(Unavailable):
    """A write was sent and its answer did not come: it may have taken effect."""


class Lasting(Unavailable):
    """The store can't be used, and waiting alone does not mend that; the text is a line for the operator."""


class LockTimeout(Unavailable):
    """A row stayed locked by another; nothing was written."""


class Conflict(StorageError):
    """A unique key is taken."""


class Absent(StorageError):
    """What the call is about does not exist."""


class UserAbsent(Absent):
    """A user that the call names does not exist, or not any more; nothing was written.

    Attributes:
        username: the first such user, by name.
    """

    def __init__(self, username: str) -> None:
        super().__init__(f'there is no user "{username}"')
        self.username = username


class MigrationError(StorageError):
    """The schema can't be brought up to date; the text says why."""


class BadData(StorageError):
    """The store can't hold the value."""
