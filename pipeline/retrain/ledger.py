"""The ledger of retraining: which plans there were, how far each came, how it ended, and what people decided.

Whoever works holds a lease, and every write checks in its own transaction that the lease is still the newest: a job
that was paused, cut off or taken for dead writes nothing. Writers take turns, on both kinds of database. Aliases lie in
another system that cannot check a fence, so they move while a transaction of the ledger is held (`moving`): nobody else
can take the lease, hold or roll back in between.
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from pipeline.core.config import to_dict
from pipeline.core.errors import UserError, problem
from pipeline.retrain import decisions, leases, records
from pipeline.retrain.decisions import Event, Hold
from pipeline.retrain.errors import LeaseLostError, OnHoldError, SupersededError
from pipeline.retrain.leases import Lease
from pipeline.retrain.people import People
from pipeline.retrain.plan import Plan
from pipeline.retrain.records import PlanRow
from pipeline.retrain.tables import plans, steps, uses

Ending = Literal["promoted", "refused", "superseded", "failed"]
FINAL = ("promoted", "refused")
"""Endings after which a plan is not taken up again without a person's override."""
USE = {"promoted": "consumed", "refused": "evaluated"}
"""What becomes of the batches that a plan added; after any other ending they are new again."""


class Ledger(People):
    """The ledger in one database."""

    # Leases

    def lease(self, name: str, holder: str, seconds: float) -> Lease:
        """Take a lease that is free, lapsed, or held by a process that is certainly gone.

        Args:
            name: what it is about, such as a model's name.
            holder: who takes it, for people.
            seconds: how long it lasts unless renewed.

        Raises:
            HeldError: another holds it; names the holder, since when and until when.
        """
        with self._write() as connection:
            return leases.take(connection, self._database.clock(), name, holder, seconds)

    def renew(self, lease: Lease) -> None:
        """Let a lease last its seconds from now; one that lapsed and that nobody took counts as held.

        Raises:
            LeaseLostError: another has taken it.
        """
        with self._write() as connection:
            leases.renew(connection, self._database.clock(), lease)

    def release(self, lease: Lease) -> None:
        """Give a lease back; one that another has taken stays theirs."""
        with self._write() as connection, contextlib.suppress(LeaseLostError):
            leases.give_back(connection, self._database.clock(), lease)

    # Plans

    def begin(self, plan: Plan, lease: Lease) -> PlanRow:
        """Take a plan up, or take up again one that failed or was superseded; a final one stays as it ended.

        Another plan of the model that is still undecided is superseded in the same transaction.

        Raises:
            LeaseLostError: another holds the lease.
            UserError: another plan of the model is decided and not finished.
        """
        with self._write() as connection:
            leases.check(connection, lease)
            row = records.find(connection, plan.plan_key)
            if row is not None and (row.outcome is None or row.outcome in FINAL):
                return row
            for other in records.every(connection, (plans.c.model == plan.model) & plans.c.outcome.is_(None)):
                self._supersede(connection, other, lease, plan)
            if row is not None:
                self._reopen(connection, plan.plan_key)
            else:
                values = {"plan_key": plan.plan_key, "model": plan.model, "champion": plan.champion}
                values |= {"policy": plan.policy, "plan": to_dict(plan), "began": self._database.clock()}
                connection.execute(plans.insert().values(**values))
            self._event(connection, lease.holder, "begin", plan.plan_key, {"token": lease.token})
            return records.known(connection, plan.plan_key)

    def step_done(self, plan_key: str, lease: Lease, step: str, facts: Mapping[str, Any]) -> None:
        """Record that a step's effects are durable; the same step with the same facts may be recorded again.

        Raises:
            LeaseLostError: another holds the lease.
            UserError: there is no such plan, or the step was done with other facts.
        """
        with self._write() as connection:
            leases.check(connection, lease)
            row, known = records.known(connection, plan_key), records.facts(connection, plan_key).get(step)
            if known is not None:
                if known != dict(facts):
                    what = f"Step {step} of plan {plan_key} was done with other facts"
                    fix = "look at the plan's events, and hold retraining until it is understood"
                    raise UserError(problem(what, got=dict(facts), allowed=known, fix=fix))
                return
            values = {"plan_key": plan_key, "step": step, "facts": dict(facts), "fence": lease.token}
            values |= {"at": self._database.clock(), "after_verdict": row.verdict is not None}
            connection.execute(steps.insert().values(**values))
            self._event(connection, lease.holder, "step", plan_key, {"step": step, "facts": dict(facts)})

    def decide(self, plan_key: str, lease: Lease, verdict: Mapping[str, Any]) -> None:
        """Write the verdict, once; it has a key "passed".

        Raises:
            LeaseLostError: another holds the lease.
            UserError: there is no such plan, or it has another verdict.
        """
        with self._write() as connection:
            leases.check(connection, lease)
            row = records.known(connection, plan_key)
            if row.verdict is not None:
                if row.verdict != dict(verdict):
                    what = f"Plan {plan_key} is decided already, otherwise"
                    allowed, fix = "one verdict a plan", "look at the plan's page; a new batch makes a new plan"
                    raise UserError(problem(what, got=dict(verdict), allowed=allowed, fix=fix))
                return
            values = {"verdict": dict(verdict), "decided": self._database.clock()}
            connection.execute(sa.update(plans).where(plans.c.plan_key == plan_key).values(**values))
            self._event(connection, lease.holder, "decide", plan_key, {"passed": bool(verdict["passed"])})

    @contextlib.contextmanager
    def moving(self, plan_key: str, lease: Lease, version: int) -> Iterator[None]:
        """Record that a version is about to become champion; within the block nobody else writes the ledger.

        Only `Champions` may be called inside: writing the ledger there would wait for itself, and is refused.

        Args:
            plan_key: a plan whose verdict allows it, or a person's override.
            lease: of this job.
            version: the candidate's.

        Raises:
            LeaseLostError: another holds the lease.
            OnHoldError: a person has stopped retraining.
            SupersededError: a person has rolled the plan back.
            UserError: the verdict does not allow it.
        """
        with self._write() as connection:
            row = self._movable(connection, plan_key, lease)
            if row.version not in (None, version):
                what = f"Plan {plan_key} has another candidate"
                fix = "hold retraining, and look which of the two the plan's run has made"
                raise UserError(problem(what, got=f"version {version}", allowed=f"version {row.version}", fix=fix))
            if row.version is None:
                connection.execute(sa.update(plans).where(plans.c.plan_key == plan_key).values(version=version))
                self._event(connection, lease.holder, "move", plan_key, {"version": version})
        with self.alone() as connection:
            self._movable(connection, plan_key, lease)
            yield

    def finish(self, plan_key: str, lease: Lease, outcome: Ending) -> PlanRow:
        """End a plan, and write in the same transaction what became of the batches that it added.

        Returns:
            How it ended: as asked, or promoted, when a person has ended it by rolling it back.

        Raises:
            LeaseLostError: another holds the lease.
            UserError: it has ended otherwise, its verdict allows no such end, or a batch would be used twice.
        """
        with self._write() as connection:
            leases.check(connection, lease)
            row = records.known(connection, plan_key)
            if row.outcome is None:
                self._end(connection, row, outcome, lease.holder)
            elif row.outcome != outcome and not decisions.is_rolled_back(connection, plan_key):
                what, fix = f"Plan {plan_key} has ended already", "override it, or wait for a new batch"
                raise UserError(problem(what, got=outcome, allowed=row.outcome, fix=fix))
            return records.known(connection, plan_key)

    # What is known

    def row(self, plan_key: str) -> PlanRow | None:
        """Return a plan; None when it never began."""
        with self._database.read() as connection:
            return records.find(connection, plan_key)

    def rows(self, model: str = "") -> list[PlanRow]:
        """Return the plans in the order in which they first began; of all models unless one is named."""
        with self._database.read() as connection:
            return records.every(connection, plans.c.model == model if model else sa.true())

    def facts(self, plan_key: str) -> dict[str, dict[str, Any]]:
        """Return what the steps done so far left, by step."""
        with self._database.read() as connection:
            return records.facts(connection, plan_key)

    def used(self, model: str, version: int) -> dict[str, str]:
        """Return the batches that a version and those before it were trained on, and the plan that added each."""
        with self._database.read() as connection:
            return records.used(connection, model, version)

    def uses(self, plan_key: str) -> dict[str, str]:
        """Return what became of the batches that a plan added: consumed or evaluated; empty until it ends so."""
        with self._database.read() as connection:
            return {r.batch: r.use for r in connection.execute(sa.select(uses).where(uses.c.plan_key == plan_key))}

    # People, beside what `People` has

    def override(self, plan_key: str, who: str, reason: str) -> None:
        """Let a plan that was refused or rolled back be promoted by the next job, on a person's word.

        Raises:
            UserError: no name or reason, no such plan, nothing to override, or another plan of the model is in work.
        """
        with self._write() as connection:
            row = records.known(connection, plan_key)
            blocked = row.outcome == "refused" or decisions.is_rolled_back(connection, plan_key)
            in_work = records.every(connection, (plans.c.model == row.plan.model) & plans.c.outcome.is_(None))
            moving = decisions.unfinished_rollback(connection, row.plan.model)
            if not blocked or in_work or moving is not None:
                got = (
                    f"plan {plan_key}, {row.outcome or 'in work'}; in work: {len(in_work)}; being rolled back: {moving}"
                )
                allowed = "a refused or rolled-back plan, no other in work, no rollback unfinished"
                fix = "wait for the plan in work, or finish the rollback"
                raise UserError(problem("There is nothing to override now", got=got, allowed=allowed, fix=fix))
            decisions.say(connection, self._database.clock(), who, "override", plan_key, reason)
            for batch in row.plan.new_batches:
                if batch in decisions.left_out(connection, row.plan.model):
                    subject = decisions.batch_subject(row.plan.model, batch)
                    decisions.say(connection, self._database.clock(), who, "take_back", subject, reason)
            self._reopen(connection, plan_key)

    def overrides(self, plan_key: str) -> list[Event]:
        """Return the overrides of a plan that are in force: those that no later rolling back has ended."""
        with self._database.read() as connection:
            return decisions.overrides(connection, plan_key)

    def rolled_back(self, model: str, version: int, plan_key: str, who: str, reason: str) -> None:
        """Record that a person takes a version back: its plan is never promoted again without an override.

        The batches that the plan added are left out of coming plans until somebody takes them back: another plan would
        bring in again what this one was rolled back for. Recording the same again changes nothing.

        Args:
            model: registered name.
            version: its number.
            plan_key: plan that made it; empty when people registered it.
            who: decides.
            reason: why.
        """
        with self._write() as connection:
            now, subject = self._database.clock(), plan_key or f"{model}/version-{version}"
            if decisions.is_rolled_back(connection, subject):
                return
            row = records.known(connection, plan_key) if plan_key else None
            if row and row.outcome is None:  # killed between the champion's move and the end
                self._end(connection, row, "promoted", who)
            decisions.say(connection, now, who, "roll_back", subject, reason, model=model, version=version)
            for batch in row.plan.new_batches if row else ():
                subject = decisions.batch_subject(model, batch)
                decisions.say(connection, now, who, "leave_out", subject, f"rolled back: {reason}")

    @contextlib.contextmanager
    def moving_back(self, model: str, version: int, who: str) -> Iterator[None]:
        """Hold the ledger while the alias of a version that was rolled back moves; then the rollback is finished."""
        with self.alone() as connection:
            yield
            self._event(connection, who, "moved_back", model, {"model": model, "version": version})

    def unfinished_rollback(self, model: str) -> int | None:
        """Return the version that a person took back in a job that was killed before its alias had moved for sure."""
        with self._database.read() as connection:
            return decisions.unfinished_rollback(connection, model)

    def is_rolled_back(self, plan_key: str) -> bool:
        """Return whether a person has taken the plan's version back, and nobody has overridden that."""
        with self._database.read() as connection:
            return decisions.is_rolled_back(connection, plan_key)

    # Inside

    def _movable(self, connection: Connection, plan_key: str, lease: Lease) -> PlanRow:
        """Return a plan whose candidate may become champion now."""
        leases.check(connection, lease)
        if hold := decisions.held(connection):
            raise on_hold(hold)
        row = records.known(connection, plan_key)
        if decisions.is_rolled_back(connection, plan_key):
            raise SupersededError(f"plan {plan_key} was rolled back")
        if row.outcome in ("superseded", "failed"):
            raise SupersededError(f"plan {plan_key} was {row.outcome}")
        if decisions.unfinished_rollback(connection, row.plan.model) == row.plan.champion:
            raise SupersededError(f"version {row.plan.champion}, which it follows, is being rolled back")
        self._check_end(connection, row, "promoted")
        return row

    def _check_end(self, connection: Connection, row: PlanRow, outcome: Ending) -> None:
        """Refuse an end that is not the verdict's."""
        if outcome not in FINAL:
            return
        overridden = bool(decisions.overrides(connection, row.plan.plan_key))
        passed = row.verdict is not None and (bool(row.verdict["passed"]) or overridden)
        if row.verdict is None or passed != (outcome == "promoted"):
            what = f"The verdict of plan {row.plan.plan_key} allows no such end"
            verdict = "none" if row.verdict is None else "passed" if passed else "failed"
            fix = "judge the plan first; jobs/retrain.py --override promotes a refused one"
            raise UserError(problem(what, got=outcome, allowed=f"what the verdict says: {verdict}", fix=fix))

    def _end(self, connection: Connection, row: PlanRow, outcome: Ending, actor: str) -> None:
        plan, now = row.plan, self._database.clock()
        self._check_end(connection, row, outcome)
        if outcome == "promoted":
            if row.version is None:
                raise RuntimeError(f"plan {plan.plan_key} ends promoted, and no version was moved")
            if twice := sorted(records.used(connection, plan.model, plan.champion).keys() & set(plan.new_batches)):
                what, allowed = f"Plan {plan.plan_key} uses batches twice", "batches that the lineage has not seen"
                fix = "roll the champion back, and hold retraining until it is understood"
                raise UserError(problem(what, got=", ".join(twice), allowed=allowed, fix=fix))
        connection.execute(sa.update(plans).where(plans.c.plan_key == plan.plan_key).values(outcome=outcome, ended=now))
        if outcome in USE:
            rows = [{"plan_key": plan.plan_key, "batch": b, "use": USE[outcome]} for b in plan.new_batches]
            connection.execute(uses.insert(), rows)
        self._event(connection, actor, "finish", plan.plan_key, {"outcome": outcome, "version": row.version})

    def _supersede(self, connection: Connection, other: PlanRow, lease: Lease, plan: Plan) -> None:
        """End a plan whose place another takes."""
        if other.verdict is not None:
            what = f"Plan {other.plan.plan_key} of {plan.model} is decided and not finished"
            fix = "finish it first: jobs/retrain.py takes it up"
            raise UserError(problem(what, got=f"plan {plan.plan_key}", allowed=other.plan.plan_key, fix=fix))
        self._end(connection, other, "superseded", lease.holder)

    def _reopen(self, connection: Connection, plan_key: str) -> None:
        """Put a plan back into work; what followed its verdict is to be done again."""
        connection.execute(sa.delete(uses).where(uses.c.plan_key == plan_key))
        connection.execute(sa.delete(steps).where((steps.c.plan_key == plan_key) & steps.c.after_verdict))
        connection.execute(sa.update(plans).where(plans.c.plan_key == plan_key).values(outcome=None, ended=None))


def on_hold(hold: Hold) -> OnHoldError:
    """Return the message of a job that finds retraining on hold."""
    fix = "jobs/retrain.py --release REASON --by NAME, after which the plan goes on"
    what = f"Retraining is on hold since {hold.since}"
    return OnHoldError(problem(what, got=f"{hold.reason}, says {hold.who}", allowed="no hold", fix=fix))
