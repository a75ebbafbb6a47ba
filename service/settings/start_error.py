"""Why a server, or a command that needs one, can't start. Loads nothing: the supervisor has it too."""


class StartError(Exception):
    """It can't start; the text is one line for the operator."""
