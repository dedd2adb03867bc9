"""Why a retraining stops where it is; nothing is broken, and the next job goes on or finds nothing to do."""

from pipeline.core.errors import UserError


class HeldError(UserError):
    """Another job holds the lease; names it, since when and until when."""


class LeaseLostError(Exception):
    """Another job has taken the lease over: this one must stop, and nothing that it writes is accepted."""


class OnHoldError(UserError):
    """A person has stopped retraining; the plan goes on from where it stands once they release it."""


class SupersededError(Exception):
    """The champion is no longer the one that the candidate was compared with, or a person has rolled the plan back."""
