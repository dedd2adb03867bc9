"""What to train next: sealed batches that the champion has not learnt from, on top of those that it has.

Looking costs seconds and needs neither torch nor Ray; the base's recipe is read only once there is something to train.
A plan's key is a hash of what decides its result: champion, batches, recipe, code and policy. Where files lie and how
many machines work is no part of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.annotate.batches import MANIFEST, read_batch
from pipeline.core import storage
from pipeline.core.errors import UserError, problem
from pipeline.registry.tags import BASE_TAG, BATCHES_TAG

if TYPE_CHECKING:
    from pipeline.retrain.champions import Champions, Version
    from pipeline.retrain.ledger import Ledger
    from pipeline.retrain.records import PlanRow

SOURCES = ("models", "pipeline", "jobs")
PLACES = ("edits.base", "edits.batches")
"""Fields of a recipe that say where things lie which the key names otherwise."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One retraining: everything that decides its result."""

    plan_key: str
    model: str
    """Registered name."""
    champion: int
    """Version that it is compared with and would follow."""
    champion_run: str
    """MLflow run of that version."""
    champion_checkpoint: str
    """Folder of its weights."""
    base: str
    """Checkpoint that the training starts from."""
    new_batches: tuple[str, ...]
    """Ids, sorted."""
    batches: tuple[str, ...]
    """Ids that train: those of the champion's lineage and the new ones, sorted."""
    batch_uris: dict[str, str]
    """Folder of every batch that trains."""
    recipe: dict[str, Any]
    """Of the training."""
    code: str
    """Git commit, or digest of the sources where there is none or files were changed."""
    policy: str
    """Of the gates, with its hash."""

    def tags(self) -> dict[str, str]:
        """Return what a registered version says of its plan, beside the key."""
        return {
            "star.parent": str(self.champion),
            BASE_TAG: self.base,
            BATCHES_TAG: ",".join(self.batches),
            "star.new_batches": ",".join(self.new_batches),
            "star.code": self.code,
            "star.policy": self.policy,
        }


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What there is to do, and why not."""

    plan: Plan | None
    reason: str
    """One sentence for people."""
    batches: dict[str, str]
    """Every sealed batch: new, in work, consumed, evaluated, left out."""


def find_plan(
    ledger: Ledger, champions: Champions, batches_root: str, recipe_overrides: Sequence[str], policy: str
) -> Plan | None:
    """Return the next plan, or the one that is to be finished first; None when there is nothing to do.

    Nothing is to do on hold, without a batch that is new to the champion's lineage, or when the same batches were
    already tried on the same champion under the same policy. Arguments and errors as `survey`.
    """
    return survey(ledger, champions, batches_root, recipe_overrides, policy).plan


def survey(
    ledger: Ledger, champions: Champions, batches_root: str, recipe_overrides: Sequence[str], policy: str
) -> Survey:
    """Look what there is to do.

    Args:
        ledger: of the model's plans.
        champions: of the model.
        batches_root: folder of the sealed batches, a path or URI.
        recipe_overrides: `section.key=value` changes of the fine-tuning's recipe.
        policy: id of the gates' policy.

    Raises:
        UserError: there is no champion, a sealed batch is damaged, or one that the lineage was trained on is gone.
    """
    champion = champions.champion()
    if champion is None or not champion.checkpoint:
        fix = "make a trained run the first one: jobs/retrain.py --bootstrap RUN"
        got = "none" if champion is None else f"version {champion.number} without its checkpoint"
        raise UserError(problem(f"{champions.model} has no champion to start from", got=got, allowed="one", fix=fix))
    rows = ledger.rows(champions.model)
    found = sealed(batches_root)
    # The first champion may have learnt from batches that no plan has added.
    used = {*champion.batches, *ledger.used(champions.model, champion.number)}
    states = _states(found, rows, used, set(ledger.left_out(champions.model)))
    fresh = [batch for batch, state in states.items() if state in ("new", "evaluated", "in work")]
    if hold := ledger.held():
        return Survey(plan=None, reason=f"on hold since {hold.since}: {hold.reason}, says {hold.who}", batches=states)
    if ledger.unfinished_rollback(champions.model) == champion.number:
        text = f"version {champion.number} is being rolled back: finish it with jobs/rollback.py"
        return Survey(plan=None, reason=text, batches=states)
    in_work = next((row for row in rows if row.outcome is None), None)
    if in_work and in_work.decided is not None:
        text = f"plan {in_work.plan.plan_key} is decided and to be finished"
        return Survey(plan=in_work.plan, reason=text, batches=states)
    if not fresh:
        return Survey(plan=None, reason=f"no batch is new to version {champion.number}", batches=states)
    if tried := _tried(rows, champion.number, fresh, policy):
        text = f"plan {tried.plan.plan_key} tried these batches with the same policy and was {tried.outcome}"
        return Survey(plan=None, reason=text, batches=states)
    if gone := sorted(used - found.keys()):
        fix, what = "bring them back, or roll back to a version before them", "Batches of the champion are gone"
        raise UserError(problem(what, got=", ".join(gone), allowed=f"all of them in {batches_root}", fix=fix))
    context = (champions.model, champion, found, sorted(used), recipe_overrides, policy)
    if in_work and set(in_work.plan.new_batches) <= set(fresh):
        again = _plan(in_work.plan.new_batches, *context)
        if again.plan_key == in_work.plan.plan_key:  # else begin supersedes it
            return Survey(plan=in_work.plan, reason=f"plan {again.plan_key} goes on", batches=states)
    plan = _plan(sorted(fresh), *context)
    return Survey(plan=plan, reason=f"{len(fresh)} new batches for version {champion.number}", batches=states)


def sealed(batches_root: str) -> dict[str, str]:
    """Return the folder of every sealed batch by id; folders without a manifest are batches that are being written."""
    folders = [str(entry.base_name) for entry in storage.entries(batches_root)]
    uris = {name: storage.join(batches_root, name) for name in folders}
    return {name: uri for name, uri in uris.items() if storage.exists(storage.join(uri, MANIFEST))}


def _states(found: Mapping[str, str], rows: Sequence[PlanRow], used: set[str], left_out: set[str]) -> dict[str, str]:
    """Return how every sealed batch stands towards the champion."""
    in_work = {batch for row in rows if row.outcome is None for batch in row.plan.new_batches}
    tried = {batch for row in rows if row.outcome in ("refused", "promoted") for batch in row.plan.new_batches}
    states = {}
    for batch in found:
        if batch in used:
            states[batch] = "consumed"
        elif batch in left_out:
            states[batch] = "left out"
        elif batch in in_work:
            states[batch] = "in work"
        else:
            states[batch] = "evaluated" if batch in tried else "new"
    return states


def _tried(rows: Sequence[PlanRow], champion: int, fresh: Sequence[str], policy: str) -> PlanRow | None:
    """Return the plan that has tried these batches on this champion under this policy, whatever its code or recipe."""
    for row in rows:
        plan = row.plan
        is_same = (plan.champion, plan.policy, set(plan.new_batches)) == (champion, policy, set(fresh))
        if is_same and row.outcome in ("refused", "promoted"):
            return row
    return None


def _plan(
    new: Sequence[str],
    model: str,
    champion: Version,
    found: Mapping[str, str],
    before: Sequence[str],
    overrides: Sequence[str],
    policy: str,
) -> Plan:
    """Make the plan. The replay policy is "base": from the lineage's base, on all its batches and the new ones."""
    # Not for a job that finds nothing to do: they bring torch.
    from pipeline.core.config import override, to_dict
    from pipeline.eval.load import recipe_of
    from pipeline.finetune.recipe import derive
    from pipeline.train import checkpoint

    batches = tuple(sorted({*before, *new}))
    uris = {batch: storage.absolute(found[batch]) for batch in batches}
    for uri in uris.values():
        read_batch(uri)
    base = recipe_of(checkpoint.read(champion.base))
    recipe = to_dict(override(derive(base, champion.base, [uris[batch] for batch in batches]), overrides))
    code = code_version()
    return Plan(
        plan_key=plan_key(model, champion.number, new, recipe, code, policy),
        model=model,
        champion=champion.number,
        champion_run=champion.run_id,
        champion_checkpoint=champion.checkpoint,
        base=champion.base,
        new_batches=tuple(new),
        batches=batches,
        batch_uris=uris,
        recipe=recipe,
        code=code,
        policy=policy,
    )


def plan_key(
    model: str, champion: int, new_batches: Sequence[str], recipe: Mapping[str, Any], code: str, policy: str
) -> str:
    """Return the SHA-256 over what decides a plan's result."""
    from pipeline.tracking.run import flatten
    from pipeline.train.runs import FREE

    kept = {key: value for key, value in flatten(recipe).items() if not key.startswith((*FREE, *PLACES))}
    said = {"model": model, "champion": champion, "batches": sorted(new_batches), "recipe": kept}
    return storage.sha256_json({**said, "code": code, "policy": policy})


def code_version() -> str:
    """Return the git commit of an unchanged checkout, else "sources-" and a digest of the Python files and policies."""
    from pipeline.train.runs import ROOT, software

    now = software()
    if now["dirty"] == "false":
        return now["commit"]
    return f"sources-{sources_digest(ROOT)}"


def sources_digest(root: Path) -> str:
    """Return a SHA-256 over the names and bytes of everything that runs."""
    digest = hashlib.sha256()
    files = [path for top in SOURCES for kind in ("*.py", "*.json") for path in (root / top).rglob(kind)]
    for path in sorted(files):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(root).as_posix()} {len(content)} ".encode())
        digest.update(content)
    return digest.hexdigest()
