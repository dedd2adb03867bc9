"""Lineage both ways: from a registered version to what it learnt from, and from a clip to the versions that saw it.

What a version learnt from is its training list: every video of the training split, and for those that people edited the
sealed batch and the very answer that counted. The list's hash is recorded when a candidate is trained
(`list_hash(planned_list(plan))`, kept as the version's tag LIST_TAG). `rebuild` makes the list again from what the run
has kept of its catalog and from the sealed batches, so that it can be checked even once the data are prepared anew.

Nothing here needs torch, Ray or a GPU.
"""

import functools
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.annotate.batches import Batch, BatchRow, read_batch
from pipeline.core import storage
from pipeline.core.errors import UserError, problem
from pipeline.data.store.catalog import READABLE, CatalogRow, Passport
from pipeline.data.store.prepared import PreparedDataset
from pipeline.finetune.edits import held_out, standing
from pipeline.retrain.champions import Champions, Version
from pipeline.retrain.ledger import Ledger
from pipeline.retrain.night import LIST_TAG
from pipeline.retrain.plan import Plan
from pipeline.train.trained_on import RECORD, TrainedOn


@dataclass(frozen=True, kw_only=True)
class TrainingRow:
    """One video of a training list."""

    video: str
    label: int
    frames: int
    sha256: str
    """Of the video's content."""
    batch: str
    """Sealed batch whose answer its frames were trained on; empty where people said nothing, or were held out."""
    revision: str
    """SHA-256 of that answer: a later batch may answer the same video again, which then supersedes it."""


def training_list(
    data: Mapping[str, Any], rows: Iterable[CatalogRow], batches: Sequence[Batch]
) -> tuple[TrainingRow, ...]:
    """Return what a fine-tuning trains on, by video id.

    Args:
        data: the data section of its recipe, as plain values.
        rows: every listed video.
        batches: sealed batches that it learns from, in any order.
    """
    counts, kept_out = standing(batches), held_out(batches)
    said = {video: (batch.id, revision_of(row)) for video, (batch, row) in counts.items() if video not in kept_out}
    place = data["fold"] - 1
    listed = [row for row in rows if row.split[place] == data["train_split"] and row.status == READABLE]
    return tuple(
        TrainingRow(
            video=row.id,
            label=row.label,
            frames=row.frames,
            sha256=row.sha256,
            batch=said.get(row.id, ("", ""))[0],
            revision=said.get(row.id, ("", ""))[1],
        )
        for row in sorted(listed, key=lambda row: row.id)
    )


def planned_list(plan: Plan) -> tuple[TrainingRow, ...]:
    """Return what a plan trains on, from the prepared data set and the batches that it names.

    Raises:
        UserError: the data set or a batch is not there, or a batch is not what was sealed.
    """
    batches = [read_batch(plan.batch_uris[batch]) for batch in plan.batches]
    data = plan.recipe["data"]
    return training_list(data, PreparedDataset.open(data["root"]).rows, batches)


def canonical(rows: Sequence[TrainingRow]) -> bytes:
    """Return a training list as text, one JSON value a line: the same list is the same bytes."""
    lines = [json.dumps(asdict(row), sort_keys=True, separators=(",", ":"), ensure_ascii=False) for row in rows]
    return "".join(line + "\n" for line in lines).encode()


def list_hash(rows: Sequence[TrainingRow]) -> str:
    """Return the SHA-256 of a training list."""
    return hashlib.sha256(canonical(rows)).hexdigest()


def revision_of(row: BatchRow) -> str:
    """Return the SHA-256 of an answer as its batch holds it."""
    return storage.sha256_json(asdict(row))


@dataclass(frozen=True)
class Rebuilt:
    """A version's training list, made again."""

    rows: tuple[TrainingRow, ...]
    recorded: str
    """Hash that was recorded when it was trained."""

    @property
    def sha256(self) -> str:
        """Hash of the list that was made again."""
        return list_hash(self.rows)

    @property
    def same(self) -> bool:
        """True when both are equal: the list is what the version was trained on."""
        return self.sha256 == self.recorded

    def sentence(self) -> str:
        """Say what was found."""
        edited = sum(bool(row.batch) for row in self.rows)
        found = f"{len(self.rows)} videos, {edited} of them edited, SHA-256 {self.sha256}"
        verdict = "as recorded at training time" if self.same else f"but {self.recorded} was recorded at training time"
        return f"{found}, {verdict}"


def rebuild(version: Version, batch_uris: Mapping[str, str]) -> Rebuilt:
    """Make the training list of a version that a plan has made again.

    Args:
        version: from the registry.
        batch_uris: folder of every batch that it learnt from, at least; as in its plan, or wherever they lie now.

    Raises:
        UserError: it was made by no plan, a batch is not there or not what was sealed, or its run's folder is gone.
    """
    if LIST_TAG not in version.tags:
        fix = "name a version that jobs/retrain.py has registered"
        what = f"Nobody recorded what version {version.number} was trained on"
        raise UserError(problem(what, got=f"no tag {LIST_TAG}", allowed="a version that a plan has made", fix=fix))
    recipe, rows = run_of(version)
    batches = [read_batch(_uri(batch, batch_uris)) for batch in version.batches]
    return Rebuilt(training_list(recipe["data"], rows, batches), version.tags[LIST_TAG])


def _uri(batch: str, uris: Mapping[str, str]) -> str:
    if batch not in uris:
        fix = "name the folder of sealed batches with --batches"
        raise UserError(problem("A batch cannot be found", got=batch, allowed=f"{len(uris)} known folders", fix=fix))
    return uris[batch]


def run_of(version: Version) -> tuple[dict[str, Any], tuple[CatalogRow, ...]]:
    """Return the recipe of the run that trained a version, as plain values, and every video that its data listed.

    Raises:
        UserError: the run's folder is gone, or kept no catalog.
    """
    run = storage.parent(version.checkpoint)
    try:
        record = storage.read_json(storage.join(run, RECORD))
    except FileNotFoundError:
        record = {}
    parts = record.get("passport_parts", {})
    rows = TrainedOn(Passport(record.get("passport", ""), parts), run).rows() if record else ()
    if not rows:
        what = f"The run of version {version.number} is gone, or kept no catalog"
        allowed, fix = f"a run's folder with {RECORD} and its catalog", "bring the folder back from a copy"
        raise UserError(problem(what, got=run or "no checkpoint", allowed=allowed, fix=fix))
    return record["recipe"], rows


@dataclass(frozen=True, kw_only=True)
class BatchShare:
    """What a version learnt from one sealed batch."""

    batch: str
    uri: str
    added_by: str
    """Plan whose new batch it was."""
    trained: tuple[str, ...]
    """Videos whose answers count."""
    held_out: tuple[str, ...]
    """Videos that answers are measured against and never trained on."""
    superseded: tuple[str, ...]
    """Videos that another batch answers later."""
    annotators: tuple[str, ...]
    """Pseudonyms, as the batch has them."""


@dataclass(frozen=True, kw_only=True)
class Lineage:
    """Where a version comes from."""

    version: int
    ancestors: tuple[int, ...]
    """Its parent, the parent's parent, and so on."""
    plan_key: str
    facts: dict[str, str]
    """Everything else that is one text: run, checkpoint, base, code, policy, catalog digest, hash of the list."""
    batches: tuple[BatchShare, ...]

    @property
    def annotators(self) -> tuple[str, ...]:
        """Pseudonyms of everybody whose answers it has seen."""
        return tuple(sorted({one for share in self.batches for one in share.annotators}))


def of_version(
    version: Version, champions: Champions, ledger: Ledger, batch_uris: Mapping[str, str] | None = None
) -> Lineage:
    """Return where a version comes from; of one that people registered, no more than its run.

    Args:
        version: from the registry.
        champions: of the model.
        ledger: of its plans.
        batch_uris: folders of batches that lie elsewhere than when they were planned.

    Raises:
        UserError: a batch is not there or not what was sealed.
    """
    row = ledger.row(version.plan_key) if version.plan_key else None
    plan = row.plan if row else None
    added = ledger.used(champions.model, version.number)
    facts = {
        "MLflow run": version.run_id,
        "checkpoint": version.checkpoint,
        "training started from": version.base,
        "code": version.tags.get("star.code", ""),
        "policy": version.tags.get("star.policy", ""),
        "catalog digest (passport)": version.tags.get("star.passport", ""),
        "training list SHA-256": version.tags.get(LIST_TAG, ""),
    }
    return Lineage(
        version=version.number,
        ancestors=_ancestors(version, champions),
        plan_key=version.plan_key,
        facts=facts,
        batches=shares(plan, added, batch_uris) if plan else (),
    )


def shares(plan: Plan, added: Mapping[str, str], batch_uris: Mapping[str, str] | None = None) -> tuple[BatchShare, ...]:
    """Return what a plan learns from each of its batches.

    Args:
        plan: the plan.
        added: plan that added each batch, where it is not this one.
        batch_uris: folders of batches that lie elsewhere than when they were planned.

    Raises:
        UserError: a batch is not there or not what was sealed.
    """
    uris = {**plan.batch_uris, **(batch_uris or {})}
    batches = [read_batch(uris[batch]) for batch in plan.batches]
    counts, kept_out = standing(batches), held_out(batches)
    found = []
    for batch in batches:
        counted = [row.video_id for row in batch.rows if counts[row.video_id][0].id == batch.id]
        found.append(
            BatchShare(
                batch=batch.id,
                uri=batch.uri,
                added_by=added.get(batch.id, plan.plan_key),
                trained=tuple(sorted(video for video in counted if video not in kept_out)),
                held_out=tuple(sorted(video for video in counted if video in kept_out)),
                superseded=tuple(sorted({row.video_id for row in batch.rows} - set(counted))),
                annotators=tuple(sorted({one for row in batch.rows for one in row.annotators})),
            )
        )
    return tuple(found)


def _ancestors(version: Version, champions: Champions) -> tuple[int, ...]:
    found: list[int] = []
    parent = version.parent
    while parent is not None:
        found.append(parent)
        parent = champions.version(parent).parent
    return tuple(found)


@dataclass(frozen=True, kw_only=True)
class Sighting:
    """What a version had to do with a clip."""

    version: int
    split: str
    """Of the clip in the version's data; empty when it was not listed there."""
    use: str
    """trained on with its edit, trained on; its edit held out, trained on, compared on, not used, quarantined, or not
    listed."""
    batch: str
    """Batch whose answer counted; empty without."""


def of_clip(video: str, champions: Champions, batch_uris: Mapping[str, str]) -> tuple[Sighting, ...]:
    """Return what every registered version had to do with a clip, oldest version first.

    Args:
        video: its id.
        champions: of the model.
        batch_uris: folder of every batch that its versions learnt from, at least.

    Raises:
        UserError: a run's folder is gone, or a batch is not there or not what was sealed.
    """
    read = functools.cache(read_batch)  # versions of a lineage share most of their batches
    found = []
    for version in champions.versions():
        if version.checkpoint:
            batches = [read(_uri(batch, batch_uris)) for batch in version.batches]
            found.append(_sighting(video, version, batches))
    return tuple(found)


def _sighting(video: str, version: Version, batches: Sequence[Batch]) -> Sighting:
    recipe, rows = run_of(version)
    data = recipe["data"]
    row = next((row for row in rows if row.id == video), None)
    split = row.split[data["fold"] - 1] if row else ""
    if row is None or row.status != READABLE:
        return Sighting(version=version.number, split=split, use="quarantined" if row else "not listed", batch="")
    if split != data["train_split"]:
        use = "compared on" if split == data["test_split"] else "not used"
        return Sighting(version=version.number, split=split, use=use, batch="")
    counted = standing(batches).get(video)
    if counted is None:
        return Sighting(version=version.number, split=split, use="trained on", batch="")
    use = "trained on; its edit held out" if video in held_out(batches) else "trained on with its edit"
    return Sighting(version=version.number, split=split, use=use, batch=counted[0].id)
