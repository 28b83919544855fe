"""What a run raises."""


class Violation(Exception):
    """What must not happen, did."""
