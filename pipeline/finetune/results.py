"""The files of a fine-tuning: the table, its numbers, predictions of every network, and before-and-after strips."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pipeline.core import storage
from pipeline.data.records import PreparedVideo
from pipeline.data.store.prepared import PreparedDataset
from pipeline.eval import faithful
from pipeline.eval import report as explained
from pipeline.eval.load import load
from pipeline.eval.place import Known, centre_places
from pipeline.eval.predict import PredictJob
from pipeline.eval.protocol import protocol_of
from pipeline.eval.truth import BoolArray
from pipeline.explain.page import png
from pipeline.finetune.edits import Edits
from pipeline.finetune.measure import Measured, measure
from pipeline.finetune.recipe import FinetuneRecipe
from pipeline.finetune.strip import draw, look
from pipeline.finetune.table import numbers, table

STRIPS = 3


@dataclass(frozen=True)
class Result:
    """What came out of a fine-tuning."""

    text: str
    metrics: dict[str, float]
    """Top-1 in percent by network and group, agreement with known places, and how faithful explanations are, under the
    names that MLflow shows."""


def job_for(recipe: FinetuneRecipe, checkpoint: str, batch: int) -> PredictJob:
    """Return how the networks of a fine-tuning are asked: one centred clip a video, on the machines of the training."""
    compute = recipe.compute
    return PredictJob(
        checkpoint=checkpoint,
        split=recipe.data.test_split,
        fold=recipe.data.fold,
        protocol=protocol_of(recipe.clip),
        batch=batch,
        actors=compute.workers,
        gpu=compute.gpu,
        cpus_per_actor=compute.cpus_per_worker,
        data_cpus=compute.data_cpus or 1.0,
        threads=compute.threads,
        precision=recipe.train.precision,
    )


def report(
    checkpoints: Mapping[str, str],
    edits: Edits,
    dataset: PreparedDataset,
    job: PredictJob,
    out: str,
    active: Mapping[str, BoolArray] | None = None,
    known: Mapping[str, Known] | None = None,
    explanations: int = 0,
) -> Result:
    """Measure networks on the test split and on held-out edits, and write what was found; Ray must be connected.

    Args:
        checkpoints: by name: before, after and, if there is one, control.
        edits: that "after" has learnt from; their classes are the edited ones.
        dataset: of the training.
        job: split, clips and machines.
        out: folder, a path or URI.
        active: known active frames by video, of synthetic videos.
        known: where the object is in them as well, if edits say where people pointed.
        explanations: clips of the test split whose explanations are judged, of every network.
    """
    trained_split = load(checkpoints["before"]).recipe.data.train_split
    by_id = {video.id: video for video in dataset.videos(trained_split, job.fold)}
    heldout = [by_id[video] for video in edits.heldout]
    measured: dict[str, Measured] = {}
    for name, checkpoint in checkpoints.items():
        asked = replace(job, checkpoint=checkpoint)
        file = storage.join(out, f"predictions-{name}.parquet")
        measured[name] = measure(dataset, asked, edits.heldout, heldout, file, active, known)
    answers = {name: one.answers for name, one in measured.items()}
    found: dict[str, Any] = numbers(answers, edits.classes)
    found |= {"edits": edits.sentence(), "measured": {name: one.facts() for name, one in measured.items()}}
    text = _text(measured, edits, dataset, job)
    logged: dict[str, float] = {}
    places = centre_places(dataset, job.protocol.clip) if known else {}
    for name, checkpoint in checkpoints.items() if explanations > 0 else ():
        benchmark = faithful.measure(dataset, replace(job, checkpoint=checkpoint), explanations)
        judged = explained.judged(benchmark, active or {}, known or {}, places, {})
        text += f"\n\n{name}\n{explained.explanations_table(judged)}"
        found["measured"][name]["explanations"] = explained.explanations_metrics(judged)
        logged |= explained.explanations_flat(judged, f"finetune/{name}")
    storage.publish_bytes(storage.join(out, "table.txt"), (text + "\n").encode())
    encoded = json.dumps(found, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    storage.publish_bytes(storage.join(out, "metrics.json"), encoded.encode())
    _write_strips(checkpoints, edits, dataset.root, _chosen(measured, edits, heldout, dataset, job), out)
    metrics = {
        f"finetune/{name}/{group}/top1": 100.0 * values["hits"] / values["videos"]
        for name, one in found["networks"].items()
        for group, values in one["groups"].items()
    }
    pointing = {name: one.where.truth for name, one in measured.items() if one.where is not None}
    metrics |= {f"finetune/{name}/on_object_auc": p.auc.value for name, p in pointing.items() if p and p.clips}
    return Result(text, metrics | logged)


def _text(measured: Mapping[str, Measured], edits: Edits, dataset: PreparedDataset, job: PredictJob) -> str:
    lines = [
        f"{dataset.name} {job.split}, {job.protocol.describe()}",
        edits.sentence(),
        "",
        table({name: one.answers for name, one in measured.items()}, edits.classes),
        "",
        "Temporal attention against edits that were held out:",
        *(f"  {name}: {one.heldout.sentence()}" for name, one in measured.items()),
    ]
    lines += [f"{name}: {one.truth.sentence()}" for name, one in measured.items() if one.truth is not None]
    lines += [f"{name}: {said}" for name, one in measured.items() if one.where for said in one.where.sentences()]
    return "\n".join(lines)


def _chosen(
    measured: Mapping[str, Measured],
    edits: Edits,
    heldout: Sequence[PreparedVideo],
    dataset: PreparedDataset,
    job: PredictJob,
) -> list[PreparedVideo]:
    """Return clips to show: held-out ones, then videos of edited classes whose answer has changed."""
    before, after = measured["before"].answers.hits, measured["after"].answers.hits
    tested = dataset.videos(job.split, job.fold)
    changed = [v for v in tested if v.label in edits.classes and v.id in before and before[v.id] != after[v.id]]
    others = [v for v in tested if v.label in edits.classes and v not in changed]
    return [*heldout[:1], *changed, *others][:STRIPS]


def _write_strips(
    checkpoints: Mapping[str, str], edits: Edits, root: str, videos: Sequence[PreparedVideo], out: str
) -> None:
    networks = {name: load(checkpoint) for name, checkpoint in checkpoints.items()}
    for number, video in enumerate(videos, 1):
        edit = edits.heldout.get(video.id)
        edited_V = None if edit is None else np.where(edit.set_V, edit.scores_V, np.float32(np.nan))
        sheet = png(draw(look(networks, root, video, edited_V)))
        storage.publish_bytes(storage.join(out, f"strip-{number}.png"), sheet)
