"""Plans as the ledger has them: how far each came, and which batches a version was trained on.

Functions work in the transaction at hand.
"""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from pipeline.core.config import from_dict
from pipeline.core.errors import UserError, problem
from pipeline.retrain.plan import Plan
from pipeline.retrain.tables import plans, steps


@dataclass(frozen=True, kw_only=True)
class PlanRow:
    """A plan and how far it came. Times are seconds since 1970."""

    plan: Plan
    began: float
    verdict: dict[str, Any] | None
    """As it was decided."""
    decided: float | None
    version: int | None
    """Registered version of the candidate, once it was about to be made champion."""
    outcome: str | None
    """None while in work; then promoted, refused, superseded or failed."""
    ended: float | None


def find(connection: Connection, plan_key: str) -> PlanRow | None:
    """Return a plan; None when it never began."""
    found = every(connection, plans.c.plan_key == plan_key)
    return found[0] if found else None


def known(connection: Connection, plan_key: str) -> PlanRow:
    """Return a plan.

    Raises:
        UserError: it never began.
    """
    row = find(connection, plan_key)
    if row is None:
        fix = "take a plan's key from the history page or from jobs/retrain.py --dry-run"
        raise UserError(problem("There is no such plan", got=plan_key, allowed="a plan that has begun", fix=fix))
    return row


def every(connection: Connection, which: sa.ColumnElement[bool]) -> list[PlanRow]:
    """Return the plans that fulfil a condition, in the order in which they began."""
    asked = sa.select(plans).where(which).order_by(plans.c.began, plans.c.plan_key)
    return [
        PlanRow(
            plan=from_dict(Plan, row.plan),
            began=row.began,
            verdict=row.verdict,
            decided=row.decided,
            version=row.version,
            outcome=row.outcome,
            ended=row.ended,
        )
        for row in connection.execute(asked)
    ]


def facts(connection: Connection, plan_key: str) -> dict[str, dict[str, Any]]:
    """Return what the steps of a plan left, by step."""
    return {row.step: row.facts for row in connection.execute(sa.select(steps).where(steps.c.plan_key == plan_key))}


def used(connection: Connection, model: str, version: int) -> dict[str, str]:
    """Return the batches that a version and those before it were trained on, and the plan that added each."""
    moved = every(connection, (plans.c.model == model) & plans.c.version.is_not(None))
    by_version = {row.version: row.plan for row in moved}
    found: dict[str, str] = {}
    plan = by_version.get(version)
    while plan is not None:
        found |= dict.fromkeys(plan.new_batches, plan.plan_key)
        plan = by_version.get(plan.champion)
    return found
