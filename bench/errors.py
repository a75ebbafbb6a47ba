"""What ends a run with a line to the user instead of a trace."""


class BenchError(Exception):
    """The run cannot go on, or could not begin; the text is one line that says why and, where it can, what to do."""


class RunBroken(Exception):
    """A stream or call that the scenario needs ended in mid-run; what was measured until then counts."""
