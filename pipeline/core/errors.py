"""Errors that a person can act on: what was wrong, what was received, what is allowed, how to fix it."""


class UserError(Exception):
    """Bad input from a person (a path, a flag, a file, a recipe); jobs print it without a traceback and exit with 2."""


def problem(what: str, *, got: object, allowed: object, fix: str) -> str:
    """Compose the one message shape that every user-facing error has.

    Args:
        what: what was wrong, a full clause without a trailing period.
        got: the value received; strings are shown as they are, other values by ``repr``.
        allowed: what would have been accepted.
        fix: the action that mends it, as an imperative.

    Returns:
        One paragraph: ``what. Received: got. Allowed: allowed. Fix: fix.``
    """
    shown = got if isinstance(got, str) else repr(got)
    return f"{what}. Received: {shown}. Allowed: {allowed}. Fix: {fix}."
