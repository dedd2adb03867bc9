"""A plan from its new batches to a promotion or a refusal: steps that may be killed anywhere and started again.

    planned, trained, scored, judged, reported, then registered, challenged, promoted, or else refused; finished

What a step does outside of the ledger gives the same result however often it is done; the step counts once the ledger
says so. What fails before the verdict ends the plan as failed: its batches are new again, and the next call takes the
same plan up where it stood. The verdict is in the ledger, and its page written, before anything in the registry moves,
and a refused candidate never enters the registry. When the champion is no longer the one compared with, the plan ends
superseded.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from sqlalchemy.exc import SQLAlchemyError

from pipeline.core import storage
from pipeline.core.config import from_dict, to_dict
from pipeline.core.database import UnreachedError
from pipeline.core.errors import UserError, problem
from pipeline.retrain.errors import LeaseLostError, OnHoldError, SupersededError
from pipeline.retrain.evidence import Evidence
from pipeline.retrain.gates import judge
from pipeline.retrain.ledger import Ledger, on_hold
from pipeline.retrain.verdict import Verdict

if TYPE_CHECKING:
    from pipeline.retrain.champions import Champions
    from pipeline.retrain.leases import Lease
    from pipeline.retrain.plan import Plan
    from pipeline.retrain.policy import Policy
    from pipeline.retrain.records import PlanRow

End = Literal["promoted", "refused", "superseded"]
STEPS = (
    "planned",
    "trained",
    "scored",
    "judged",
    "reported",
    "registered",
    "challenged",
    "promoted",
    "refused",
    "superseded",
    "finished",
)
"""In order; a plan takes one of promoted, refused and superseded, and a refused one is not registered."""
RENEWALS = 6
"""Of a lease, in the time that it lasts."""
LIST_TAG = "star.training_list_sha256"
"""Tag of a registered version: hash of its training list, as it was when it was trained."""
REPORT_TAG = "star.report"
"""Likewise: the page of its plan."""
UNRECORDED = " (unrecorded)"
"""Marks the boundary at which a step's effects are durable, but the ledger does not know yet."""
BOUNDARIES = (*(step + mark for step in STEPS[:-1] for mark in (UNRECORDED, "")), STEPS[-1])
"""What `at` is called with, by and by. The ledger's transaction that ends a plan is its own record."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a plan's training left."""

    run_id: str
    """MLflow run."""
    checkpoint: str
    """Folder of the weights to be judged, a path or URI."""
    training_list: str = ""
    """SHA-256 over what it was trained on, every video and every answer; `lineage.rebuild` must find the same."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a plan ended."""

    plan_key: str
    end: End
    version: int | None
    """Of the candidate in the registry; None when it was refused."""
    page: str
    """Report of the plan, a path or URI."""
    verdict: Verdict

    @property
    def is_alarm(self) -> bool:
        """Whether a candidate was refused for harm; one that only shows no benefit is no alarm."""
        return self.end == "refused" and self.verdict.outcome == "refuse"


class Work(Protocol):
    """What costs time: each method may be called again after a crash and then returns what it would have returned."""

    def train(self, plan: Plan) -> Trained:
        """Train the plan's candidate, or go on where a killed training stopped."""

    def score(self, plan: Plan, trained: Trained) -> Evidence:
        """Return what the gates look at: champion and candidate on the same videos."""

    def report(self, plan: Plan, trained: Trained, evidence: Evidence, verdict: Verdict) -> str:
        """Write the plan's page; returns its path or URI."""


def nothing(boundary: str) -> None:
    """Do nothing at a boundary."""


def run_plan(
    plan: Plan,
    ledger: Ledger,
    champions: Champions,
    lease: Lease,
    work: Work,
    policy: Policy,
    at: Callable[[str], None] = nothing,
) -> Outcome:
    """Take a plan from where it stands to its end.

    Args:
        plan: from `plan.find_plan`, or an unfinished one out of the ledger.
        ledger: what has been done.
        champions: the registry.
        lease: held by this process; renewed until the end.
        work: training, scoring, reporting.
        policy: the gates' limits, the plan's; a plan that is decided keeps its verdict, whatever they are now.
        at: called at every boundary of BOUNDARIES that is passed, once its effects are durable.

    Raises:
        LeaseLostError: another job has taken the lease over.
        OnHoldError: a person has stopped retraining.
        UserError: the plan was made for another policy, or the work cannot be done.
    """
    begun = ledger.row(plan.plan_key)
    if policy.id != plan.policy and (begun is None or begun.verdict is None):
        fix = f"run the plan with the policy {plan.policy}"
        raise UserError(problem("The plan is another policy's", got=policy.id, allowed=plan.policy, fix=fix))
    with keeping(ledger, lease) as kept:
        return _Night(plan, ledger, champions, lease, kept, at).run(work, policy)


class _Night:
    """One plan on its way, by one holder of the lease."""

    def __init__(
        self,
        plan: Plan,
        ledger: Ledger,
        champions: Champions,
        lease: Lease,
        kept: Kept,
        at: Callable[[str], None],
    ) -> None:
        self._plan, self._ledger, self._champions = plan, ledger, champions
        self._lease, self._kept, self._at = lease, kept, at

    def run(self, work: Work, policy: Policy) -> Outcome:
        """Do every step that is not done."""
        plan = self._plan
        self._ledger.begin(plan, self._lease)
        try:
            self._once("planned", lambda: {"policy": plan.policy, "code": plan.code})
            trained = Trained(**self._once("trained", lambda: asdict(work.train(plan))))
            verdict = self._judge(work, trained, policy)
        except (OnHoldError, LeaseLostError):
            raise
        except Exception:  # whatever it was: nothing is decided, so the batches are new again
            self._kept.check()
            try:
                self._ledger.finish(plan.plan_key, self._lease, "failed")
            except (UnreachedError, SQLAlchemyError) as lost:  # what went wrong first is what people need to know
                print(f"WARNING plan {plan.plan_key} is not recorded as failed ({lost})", file=sys.stderr, flush=True)
            raise
        page = str(self._once("reported", lambda: self._report(work, trained, verdict))["page"])
        if not verdict.passed and not self._ledger.overrides(plan.plan_key):
            self._once("refused", dict)
            return self._finish("refused", None, page, verdict)
        return self._promote(trained, page, verdict)

    def _once(self, step: str, effect: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
        """Do a step unless the ledger says that it was done; returns the facts that it left."""
        known = self._ledger.facts(self._plan.plan_key).get(step)
        if known is not None:
            return dict(known)
        self._check()
        facts = dict(effect())
        self._at(step + UNRECORDED)
        self._kept.check()
        self._ledger.step_done(self._plan.plan_key, self._lease, step, facts)
        self._at(step)
        return facts

    def _check(self) -> None:
        """Stop before a step that should not begin."""
        self._kept.check()
        if hold := self._ledger.held():
            raise on_hold(hold)

    def _judge(self, work: Work, trained: Trained, policy: Policy) -> Verdict:
        """Score and judge; a verdict that the ledger has stays, whatever the code says today."""

        def decide() -> dict[str, Any]:
            if self._row().verdict is None:
                if policy.id != self._plan.policy:
                    what, fix = "The plan is another policy's", f"run it with the policy {self._plan.policy}"
                    raise UserError(problem(what, got=policy.id, allowed=self._plan.policy, fix=fix))
                verdict = judge(self._scored(work, trained), policy)
                self._kept.check()
                self._ledger.decide(self._plan.plan_key, self._lease, to_dict(verdict))
            return {"verdict": storage.sha256_json(self._row().verdict)}

        self._once("judged", decide)
        return from_dict(Verdict, self._row().verdict or {})

    def _row(self) -> PlanRow:
        row = self._ledger.row(self._plan.plan_key)
        assert row is not None, "it has begun"
        return row

    def _report(self, work: Work, trained: Trained, verdict: Verdict) -> dict[str, Any]:
        return {"page": work.report(self._plan, trained, self._scored(work, trained), verdict)}

    def _scored(self, work: Work, trained: Trained) -> Evidence:
        """Return the evidence; another one than the ledger has the hash of is refused."""
        found: list[Evidence] = []

        def score() -> dict[str, Any]:
            evidence = work.score(self._plan, trained)
            found.append(evidence)
            videos = {"ids": evidence.scored.ids, "labels": evidence.scored.label_N}
            facts = {"evidence": to_dict(evidence), "list": videos}
            return {name: storage.sha256_json(value) for name, value in facts.items()} | {"videos": len(videos["ids"])}

        recorded = self._once("scored", score)
        if not found and (again := score()) != recorded:
            what = f"What plan {self._plan.plan_key} was scored with is gone, and scoring again gave something else"
            fix = "bring the plan's evidence.json back"
            raise UserError(problem(what, got=again["evidence"], allowed=recorded["evidence"], fix=fix))
        return found[0]

    def _promote(self, trained: Trained, page: str, verdict: Verdict) -> Outcome:
        """Register the candidate, and make it the champion if the champion is the one that it was compared with."""
        plan, champions = self._plan, self._champions

        def register() -> dict[str, Any]:
            tags = {**plan.tags(), LIST_TAG: trained.training_list, REPORT_TAG: page}
            return {"version": champions.register(plan.plan_key, trained.run_id, trained.checkpoint, tags)}

        candidate = int(self._once("registered", register)["version"])
        if "superseded" not in self._ledger.facts(plan.plan_key):
            try:
                self._once("challenged", lambda: self._move(champions.challenge, candidate))
                self._once("promoted", lambda: self._move(champions.promote, candidate))
                return self._finish("promoted", candidate, page, verdict)
            except SupersededError as error:
                why = str(error)
                self._once("superseded", lambda: {"why": why})
        return self._finish("superseded", candidate, page, verdict)

    def _move(self, alias: Callable[[int, int], None], candidate: int) -> dict[str, Any]:
        """Move aliases while nobody else can write the ledger."""
        with self._ledger.moving(self._plan.plan_key, self._lease, candidate):
            alias(candidate, self._plan.champion)
        return {"version": candidate, "champion": self._plan.champion}

    def _finish(self, end: End, version: int | None, page: str, verdict: Verdict) -> Outcome:
        """Store the outcome and the use of the batches, in one transaction of the ledger."""
        self._kept.check()
        self._ledger.finish(self._plan.plan_key, self._lease, end)
        self._at("finished")
        return Outcome(plan_key=self._plan.plan_key, end=end, version=version, page=page, verdict=verdict)


class Kept:
    """Whether a lease is still held."""

    def __init__(self) -> None:
        self._lost = ""

    def lose(self, why: str) -> None:
        """Note that it is not."""
        self._lost = why

    def check(self) -> None:
        """Raise LeaseLostError unless it is."""
        if self._lost:
            raise LeaseLostError(self._lost)


@contextlib.contextmanager
def keeping(ledger: Ledger, lease: Lease) -> Iterator[Kept]:
    """Renew a lease while the block runs, and interrupt the block when it is lost.

    Args:
        ledger: where it is kept.
        lease: to renew.

    Raises:
        LeaseLostError: instead of whatever the interrupted block raises.
    """
    kept, done, turn = Kept(), threading.Event(), threading.Lock()
    main = threading.current_thread() is threading.main_thread()
    # A process that a script put into the background ignores the signal, and would train on without a lease.
    before = signal.signal(signal.SIGINT, signal.default_int_handler) if main else None

    def renew() -> None:
        while not done.wait(lease.seconds / RENEWALS):
            try:
                ledger.renew(lease)
            except LeaseLostError as error:
                kept.lose(str(error))
                with turn:
                    if main and not done.is_set():  # training waits in foreign code, which no flag would reach
                        os.kill(os.getpid(), signal.SIGINT)
                return
            except (
                UnreachedError,
                SQLAlchemyError,
            ) as error:  # the ledger may be back before the lease lapses, and writes are fenced
                print(f"WARNING lease {lease.name} could not be renewed ({error})", file=sys.stderr, flush=True)

    thread = threading.Thread(target=renew, name="lease", daemon=True)
    thread.start()
    try:
        yield kept
    except BaseException:
        kept.check()
        raise
    finally:
        with turn:
            done.set()
        thread.join()
        if main:
            signal.signal(signal.SIGINT, before)
