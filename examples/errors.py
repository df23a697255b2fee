"""What ends a run early; each prints as one line."""


class BadInput(Exception):
    """The run cannot start: what was asked for, and what to do instead. Status 2."""


class Diverged(Exception):
    """The loss is no longer a finite number. Status 1."""
