"""One call of the job: look what there is to do, take the lease, look again, work, say how it ended.

Looking takes neither torch nor Ray, so a night without a new batch costs seconds.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipeline.core import storage
from pipeline.core.config import from_dict, to_dict
from pipeline.core.database import UnreachedError
from pipeline.core.errors import UserError, problem
from pipeline.retrain.champions import Champions
from pipeline.retrain.evidence import Evidence
from pipeline.retrain.gates import judge
from pipeline.retrain.leases import Lease
from pipeline.retrain.ledger import Ledger
from pipeline.retrain.night import Outcome, Work, nothing, run_plan
from pipeline.retrain.plan import Survey, survey
from pipeline.retrain.policy import Policy, read_policy
from pipeline.retrain.records import PlanRow
from pipeline.tracking.run import flatten

LEDGER = "retrain.db"
TOLD = "told"
"""Step after the end: the pages say how the plan ended."""
LASTS_S = 120.0
"""Seconds that the lease lasts unless it is renewed; longer than the clocks of machines differ."""


@dataclass(frozen=True, kw_only=True)
class Desk:
    """Where one model's retraining is kept, and by which limits it is judged."""

    ledger: Ledger
    champions: Champions
    root: str
    """Run storage, a path or URI."""
    batches: str
    """Folder of the sealed batches, likewise."""
    overrides: tuple[str, ...]
    """`section.key=value` changes of the fine-tuning's recipe."""
    policy: Policy

    def look(self) -> Survey:
        """Return what there is to do, and why not.

        Raises:
            UserError: there is no champion, a sealed batch is damaged, or one of the lineage is gone.
        """
        return survey(self.ledger, self.champions, self.batches, self.overrides, self.policy.id)


def open_desk(
    model: str, root: str, batches: str, *, ledger: str, mlflow: str, policy: str, overrides: Sequence[str]
) -> Desk:
    """Open ledger and registry.

    Args:
        model: registered name.
        root: run storage, a path or URI.
        batches: folder of the sealed batches, likewise.
        ledger: path or PostgreSQL URL; empty takes a file in a local run storage.
        mlflow: tracking server, which holds the registry; empty takes MLFLOW_TRACKING_URI, then a file likewise.
        policy: name or file of the gates' limits.
        overrides: `section.key=value` changes of the fine-tuning's recipe.

    Raises:
        UserError: one of them cannot be opened, or is not named though the run storage is remote.
    """
    uri = mlflow or os.environ.get("MLFLOW_TRACKING_URI", "")
    if not storage.is_local(root) and not (ledger and uri):
        fix, got = "give --ledger postgresql://... and --mlflow http://...", f"a remote run storage, {root}"
        allowed = "a database and a tracking server by URL"
        raise UserError(problem("There is no place for ledger and registry", got=got, allowed=allowed, fix=fix))
    if storage.is_local(root):
        os.makedirs(storage.local_path(root), exist_ok=True)
    uri = uri or f"sqlite:///{storage.join(root, 'mlflow.db')}"
    return Desk(
        ledger=Ledger(ledger or storage.join(root, LEDGER)),
        champions=Champions(model, uri),
        root=root,
        batches=batches,
        overrides=(f"tracking.uri={uri}", *overrides),
        policy=read_policy(policy),
    )


def bootstrap(desk: Desk, run: str) -> int:
    """Register a trained run and make it the first champion; returns its version. Doing it again changes nothing.

    Args:
        desk: of the model.
        run: name of a run below the run storage, MLflow id, or a checkpoint's folder.

    Raises:
        UserError: there is no such run, it is in no MLflow run, its network learns from no edits, or there is another
            champion.
    """
    from pipeline.eval.load import load
    from pipeline.registry.locate import find_checkpoint
    from pipeline.registry.registered import register_model

    found = find_checkpoint(run, desk.root)
    network = load(found)
    if not (network.has_attention and network.run_id):
        got = f"a {network.recipe.model.arch}" + ("" if network.run_id else " without an MLflow run")
        what, allowed = "The run cannot be a champion", "an st_abn network whose training is in MLflow"
        raise UserError(problem(what, got=got, allowed=allowed, fix="train one with jobs/train_stabn.py"))
    number = register_model(network.run_id, found, desk.champions.model, tracking_uri=desk.champions.uri)
    return desk.champions.adopt(number).number


def attempt(desk: Desk, open_work: Callable[[], Work], at: Callable[[str], None] = nothing) -> Outcome | str:
    """Do what there is to do.

    Args:
        desk: of the model.
        open_work: called once there is something to do; may then import torch and Ray.
        at: as of `run_plan`.

    Returns:
        How the plan ended, or in words why there was none.

    Raises:
        HeldError: another job is at work; names it.
        LeaseLostError: another job has taken over.
        OnHoldError: a person has stopped retraining meanwhile.
        UserError: the work cannot be done.
    """
    found = desk.look()
    if found.plan is None and not _untold(desk):
        return found.reason
    model = desk.champions.model
    lease = desk.ledger.lease(model, holder(), LASTS_S)
    try:
        _tell(desk, lease)  # of a night that was killed before it could
        found = desk.look()  # another job may have finished meanwhile
        if found.plan is None:
            return found.reason
        print(f"{model}: {found.reason}; plan {found.plan.plan_key}", flush=True)
        outcome = run_plan(found.plan, desk.ledger, desk.champions, lease, open_work(), desk.policy, at)
        _tell(desk, lease)
        return outcome
    finally:
        with contextlib.suppress(UnreachedError):  # it lapses; the ledger's end hides nothing that came before
            desk.ledger.release(lease)


def _untold(desk: Desk) -> list[PlanRow]:
    """Return the plans that have ended, and whose pages do not say how yet."""
    ended = [row for row in desk.ledger.rows(desk.champions.model) if row.outcome and row.verdict]
    return [row for row in ended if TOLD not in desk.ledger.facts(row.plan.plan_key)]


def _tell(desk: Desk, lease: Lease) -> None:
    """Write the history, and on the pages of plans how they ended; after a kill in between the next call does it."""
    rows = _untold(desk)
    if not rows:
        return
    from pipeline.retrain.history import write_pages  # drawing needs torch

    history = write_pages(desk.ledger, desk.champions.model, desk.root, [row.plan.plan_key for row in rows])
    for row in rows:
        desk.ledger.step_done(row.plan.plan_key, lease, TOLD, {"history": history})


def told(desk: Desk, outcome: Outcome) -> str:
    """Return what happened, for people."""
    version = f" as version {outcome.version}" if outcome.version is not None else ""
    lines = (
        outcome.verdict.table(),
        "",
        f"plan {outcome.plan_key}: {outcome.end}{version}",
        f"  page     {outcome.page}",
        f"  history  {desk.ledger.facts(outcome.plan_key)[TOLD]['history']}",
    )
    return "\n".join(lines)


def preview(desk: Desk) -> str:
    """Return what the next call would do, and by which limits; of a plan that is scored already, its gates' table."""
    from pipeline.retrain.report import EVIDENCE, folder_of

    found = desk.look()
    lines = [f"{desk.champions.model}: {found.reason}"]
    lines += [f"  batch {batch}: {state}" for batch, state in found.batches.items()]
    if (plan := found.plan) is not None:
        lines += [f"  {name} = {value}" for name, value in flatten(to_dict(plan)).items()]
    lines += [f"policy {desk.policy.id}"]
    lines += [f"  {name} = {value}" for name, value in flatten(to_dict(desk.policy)).items()]
    if plan is None:
        return "\n".join(lines)
    uri = storage.join(folder_of(desk.root, plan.plan_key), EVIDENCE)
    if not storage.exists(uri):
        return "\n".join([*lines, "", "not scored yet"])
    return "\n".join([*lines, "", judge(from_dict(Evidence, storage.read_json(uri)), desk.policy).table()])


def holder() -> str:
    """Return who this is, for people."""
    return f"process {os.getpid()} of {getpass.getuser()} on {socket.gethostname()}"
