"""Processes that end with whoever started them."""

import shutil

TIED = ("setpriv", "--pdeathsig", "KILL")
"""Before a command that the kernel shall end when we are killed: two of them would otherwise write the same files."""


def tied() -> tuple[str, ...]:
    """Return what ties a command to our life, where the system has it."""
    return TIED if shutil.which(TIED[0]) else ()
