"""Champion and candidate asked the same: one job, one frozen list of videos, exact counts, and the candidate's bytes.

Both networks answer the same videos of the same prepared data with the same clips, one after the other in the same
cluster; the list is written down first, and answers of any other videos are refused. Nothing here judges.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import ray
import torch

from pipeline.annotate.batches import Batch
from pipeline.core import storage
from pipeline.core.config import from_dict, to_dict
from pipeline.core.errors import UserError, problem
from pipeline.data.records import HIDDEN_LABEL, PreparedVideo
from pipeline.data.store.prepared import PreparedDataset
from pipeline.eval.load import Recogniser, load
from pipeline.eval.predict import PredictJob
from pipeline.finetune.edits import Edits
from pipeline.finetune.measure import Measured, measure, plain
from pipeline.registry.registered import weights_digest
from pipeline.retrain import stats
from pipeline.retrain.evidence import Attention, Evidence, Integrity, Scored
from pipeline.retrain.health import health_of
from pipeline.retrain.report import EVIDENCE, LIST
from pipeline.train import checkpoint

CHAMPION, CANDIDATE = "champion", "candidate"
FROZEN = "extractor."
"""Names of weights and statistics that fine-tuning leaves alone begin with it."""
TIMES = 15
"""Forward passes that latency is the shortest of: what else the machine does only ever adds to it."""


@dataclass(frozen=True, kw_only=True)
class Networks:
    """Checkpoints' folders, paths or URIs."""

    base: str
    """What the candidate's training began with; its extractor is the candidate's."""
    champion: str
    candidate: str


def compare(
    networks: Networks,
    edits: Edits,
    edited: Sequence[PreparedVideo],
    new: Sequence[Batch],
    dataset: PreparedDataset,
    job: PredictJob,
    out: str,
) -> Evidence:
    """Ask champion and candidate, or return what an earlier call has found; Ray must be connected.

    Args:
        networks: who is asked.
        edits: that the candidate has learnt from; those held out are measured on.
        edited: videos of the split that they are of.
        new: the batches that the plan is about.
        dataset: of the training.
        job: split, clips and machines.
        out: the plan's folder, a path or URI; gets list, predictions and evidence.

    Raises:
        UserError: the folder's list is of other videos.
    """
    uri = storage.join(out, EVIDENCE)
    if storage.exists(uri):
        return from_dict(Evidence, storage.read_json(uri))
    videos = freeze(dataset, job.split, job.fold, storage.join(out, LIST))
    integrity = _integrity(networks, job)
    heldout = [video for video in edited if video.id in edits.heldout]

    def measured(name: str, network: str) -> Measured:
        return measure(dataset, replace(job, checkpoint=network), edits.heldout, heldout, answers(out, name))

    before = measured(CHAMPION, networks.champion)
    after = measured(CANDIDATE, networks.candidate) if integrity.finite else None
    evidence = Evidence(
        scored=_scored(videos, dataset.classes, before, after, out),
        edited=tuple(sorted({dataset.classes[row.label] for batch in new for row in batch.rows})),
        attention=_attention(before, after, out),
        health=health_of(new, dataset.classes),
        integrity=integrity,
    )
    storage.write_json(uri, to_dict(evidence))
    return evidence


def freeze(dataset: PreparedDataset, split: str, fold: int, uri: str) -> tuple[PreparedVideo, ...]:
    """Write down the videos that networks are compared on, before any is asked; returns those with a known class.

    Args:
        dataset: the prepared data set.
        split: of it.
        fold: likewise.
        uri: file that gets the list; one that is there must be of the same videos.

    Raises:
        UserError: another list is there, or no video has a published class.
    """
    videos = tuple(video for video in dataset.videos(split, fold) if video.label != HIDDEN_LABEL)
    if not videos:
        fix = "set data.test_split to a split whose classes are published"
        got = f"{split}, fold {fold}, of {dataset.root}"
        raise UserError(problem("No video of the split has a known class", got=got, allowed="one or more", fix=fix))
    listed = {"passport": dataset.passport, "split": split, "fold": fold, "videos": [[v.id, v.label] for v in videos]}
    if storage.exists(uri) and (then := storage.read_json(uri)) != listed:
        got = f"{len(videos)} videos of passport {dataset.passport}"
        allowed = f"the {len(then['videos'])} videos of passport {then['passport']} in {uri}"
        fix = "bring the data set back, or delete the plan's folder to compare anew"
        raise UserError(problem("The videos to compare on have changed", got=got, allowed=allowed, fix=fix))
    storage.write_json(uri, listed)
    return videos


def answers(out: str, name: str) -> str:
    """Return the file with a network's answers in a plan's folder."""
    return storage.join(out, f"predictions-{name}.parquet")


def _scored(
    videos: Sequence[PreparedVideo], classes: tuple[str, ...], before: Measured, after: Measured | None, out: str
) -> Scored:
    """Return who was right on every video of the list; a candidate that was not asked is right on none.

    Raises:
        RuntimeError: a network has answered other videos.
    """
    ids = tuple(video.id for video in videos)

    def right(measured: Measured) -> tuple[bool, ...]:
        hits = measured.answers.hits
        if sorted(hits) != sorted(ids):
            raise RuntimeError(f"answers do not reconcile: {len(hits)} videos answered, {len(ids)} on the list")
        return tuple(hits[video][1] for video in ids)

    return Scored(
        ids=ids,
        classes=classes,
        label_N=tuple(video.label for video in videos),
        champion_N=right(before),
        candidate_N=right(after) if after else (False,) * len(ids),
        champion_lead_N=_leads(ids, out, CHAMPION) if after else (),
        candidate_lead_N=_leads(ids, out, CANDIDATE) if after else (),
    )


def _leads(ids: Sequence[str], out: str, name: str) -> tuple[float, ...]:
    """Return by how much the true class leads, video by video of the list."""
    rows = {row["id"]: row for row in plain(answers(out, name), ["id", "label", "scores"])}
    scores_NK = np.array([rows[video]["scores"] for video in ids])
    label_N = np.array([rows[video]["label"] for video in ids])
    return tuple(stats.leads(scores_NK, label_N).tolist())


def _attention(before: Measured, after: Measured | None, out: str) -> Attention:
    def near(one: Measured | None) -> float | None:
        return one.heldout.mse.value if one is not None and one.heldout.videos else None

    return Attention(
        heldout_videos=before.heldout.videos,
        heldout_before=near(before),
        heldout_after=near(after),
        inversion_before=_inversion_drop(before),
        inversion_after=0.0 if after is None else _inversion_drop(after),
        spread_before=spread(answers(out, CHAMPION)),
        spread_after=0.0 if after is None else spread(answers(out, CANDIDATE)),
    )


def _inversion_drop(one: Measured) -> float:
    """Return how many points of top-1 it costs to turn both attentions into their opposites."""
    plain, inverted = one.answers.counts["none"], one.answers.counts["both"]
    return 100.0 * (plain.top1_hits - inverted.top1_hits) / plain.videos


def spread(predictions: str) -> float:
    """Return the mean over videos of the standard deviation of temporal attention over their frames.

    Args:
        predictions: file of `eval.evaluate`; padding is left out.
    """
    rows = plain(predictions, ["temporal", "valid"])
    return float(np.mean([np.std(np.array(row["temporal"])[np.array(row["valid"])]) for row in rows]))


def _integrity(networks: Networks, job: PredictJob) -> Integrity:
    """Look at bytes and clock where the networks run, which may be the only machine with a GPU."""
    task = ray.remote(num_cpus=job.cpus_per_actor, num_gpus=float(job.gpu))(inspect_networks)
    found: Integrity = ray.get(task.remote(networks, job))
    return found


def inspect_networks(networks: Networks, job: PredictJob) -> Integrity:
    """Compare bytes, sizes and clock of networks in this process.

    Latency is the shortest of some forward passes of one clip; the networks take turns, so that a busy machine slows
    both.

    Args:
        networks: who is looked at.
        job: device, precision and threads.
    """
    base, snapshot = checkpoint.read(networks.base), checkpoint.read(networks.candidate)
    loaded = [
        load(uri, gpu=job.gpu, precision=job.precision, threads=job.threads)
        for uri in (networks.champion, networks.candidate)
    ]
    clip = job.protocol.clip
    x_BTHWC = np.zeros((1, clip.frames, clip.size, clip.size, 3), np.uint8)
    before, after = _latencies_ms(loaded, x_BTHWC)
    return Integrity(
        finite=snapshot.skipped == 0 and all(bool(torch.isfinite(t.float()).all()) for t in snapshot.model.values()),
        extractor_identical=_extractor(base.model) == _extractor(snapshot.model),
        parameters_before=loaded[0].parameters,
        parameters_after=loaded[1].parameters,
        latency_before_ms=before,
        latency_after_ms=after,
    )


def _extractor(weights: Mapping[str, torch.Tensor]) -> str:
    """Return the digest of the part that stays, batch norm's statistics included."""
    return weights_digest({name: tensor for name, tensor in weights.items() if name.startswith(FROZEN)})


def _latencies_ms(networks: Sequence[Recogniser], x_BTHWC: npt.NDArray[np.uint8]) -> list[float]:
    taken = np.zeros((TIMES + 1, len(networks)))
    for turn in range(TIMES + 1):
        for place, network in enumerate(networks):
            started = time.perf_counter()
            network.answer(x_BTHWC)
            taken[turn, place] = 1000.0 * (time.perf_counter() - started)
    return [float(ms) for ms in taken[1:].min(axis=0)]  # the first turn warms up
