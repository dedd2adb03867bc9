"""Back to the version before: recorded first, then moved, while nobody else may move an alias."""

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.core.errors import UserError, problem
from pipeline.retrain.champions import Champions
from pipeline.retrain.errors import SupersededError
from pipeline.retrain.ledger import Ledger


@dataclass(frozen=True, kw_only=True)
class RolledBack:
    """What a rollback did."""

    model: str
    bad: int
    """Version that was rolled back."""
    champion: int
    """Version that answers now."""
    plan_key: str
    """Plan of the bad version, blocked from now on; empty when people registered it."""
    left_out: tuple[str, ...]
    """Batches that no coming plan trains on."""

    def sentence(self) -> str:
        """Say it to people."""
        blocked = f"; plan {self.plan_key} is not promoted again without an override" if self.plan_key else ""
        batches = f"; left out: {', '.join(self.left_out)}" if self.left_out else ""
        return f"{self.model}: version {self.champion} is champion, version {self.bad} rolled back{blocked}{batches}"


def roll_back(
    ledger: Ledger,
    champions: Champions,
    version: int,
    who: str,
    reason: str,
    at: Callable[[str], None] = lambda boundary: None,
) -> RolledBack:
    """Give the champion's place back to the version before it; no lease is needed, a job at work finds out.

    Args:
        ledger: of the model's plans.
        champions: of the model.
        version: to roll back; 0 for the one whose rollback was killed, else for the champion.
        who: decides.
        reason: why.
        at: called at every boundary: "recorded", then each alias that moved.

    Raises:
        UserError: no champion, nothing before it, another version is champion, or no name or reason.
    """
    champion = champions.champion()
    if champion is None:
        fix, what = "look at the model's page in MLflow", f"{champions.model} has no champion"
        raise UserError(problem(what, got="no alias champion", allowed="a champion to roll back", fix=fix))
    unfinished = ledger.unfinished_rollback(champions.model)
    bad = champions.version(version or unfinished or champion.number)
    target = champions.target(bad.number)
    finishing = unfinished == bad.number and champion.number == target.number
    if champion.number != bad.number and not finishing:
        fix, what = "name the champion, with --version", f"Version {bad.number} is not the champion"
        raise UserError(problem(what, got=str(bad.number), allowed=f"version {champion.number}", fix=fix))
    row = ledger.row(bad.plan_key) if bad.plan_key else None
    ledger.rolled_back(champions.model, bad.number, bad.plan_key if row else "", who, reason)
    at("recorded")
    with ledger.moving_back(champions.model, bad.number, who):
        try:
            champions.rollback(bad.number, at)
        except SupersededError as error:
            fix, what = "look at the history, then name the version to roll back", "The champion has changed meanwhile"
            raise UserError(problem(what, got=str(error), allowed=f"version {bad.number}", fix=fix)) from error
    return RolledBack(
        model=champions.model,
        bad=bad.number,
        champion=target.number,
        plan_key=bad.plan_key,
        left_out=row.plan.new_batches if row else (),
    )
