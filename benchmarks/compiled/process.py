"""A process that compiles, before it imports what reads the environment."""

import os


def prepare(environment: dict[str, str]) -> None:
    """Sets variables, and sends what the compilers say, which is much, nowhere."""
    os.environ |= environment
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
