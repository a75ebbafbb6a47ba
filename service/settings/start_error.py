"""The error of a server, or of a command that needs one, that can't start. Imports nothing: the supervisor loads it."""


class StartError(Exception):
    """The server or the command can't start; the text is one line for the operator."""
