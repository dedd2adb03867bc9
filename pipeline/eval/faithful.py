"""A benchmark of explanations: whether what they point at is what the network goes by (definitions: deletion.py).

Some clips, spread evenly over the split, are explained by every method and then taken apart and put together step by
step, in the order that each method gives. No label takes part: the class followed is the network's own prediction.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor
from torch.nn import functional

from pipeline.data.config import ViewConfig
from pipeline.data.records import PreparedVideo
from pipeline.data.store.prepared import PreparedDataset
from pipeline.eval.deletion import MODES, STEPS, Mode, area, frame_steps, perturbed, pixel_steps, whole_curve
from pipeline.eval.explainers import NAMES, Explanations, Method, explain, generator_of
from pipeline.eval.load import Recogniser, load
from pipeline.eval.metrics import Interval, bootstrap_mean
from pipeline.eval.pool import through
from pipeline.eval.predict import PredictJob, blocks_of, load_block, stacked
from pipeline.eval.protocol import Protocol
from pipeline.train.device import autocast

Units = Literal["frames", "pixels"]
UNITS: tuple[Units, ...] = ("frames", "pixels")
KINDS = tuple((units, mode) for units in UNITS for mode in MODES)
"""The four curves of a method."""

SEED = 0
"""Of the random maps, and of the order among equals."""

CURVE = pa.list_(pa.float64())
ROW_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("method", pa.string(), nullable=False),
        pa.field("predicted", pa.int32(), nullable=False),
        pa.field("temporal", pa.list_(pa.float32()), nullable=False),
        pa.field("spatial", pa.list_(pa.float32()), nullable=False),
        pa.field("spatial_shape", pa.list_(pa.int32()), nullable=False),
        pa.field("idx", pa.list_(pa.int32()), nullable=False),
        pa.field("valid", pa.list_(pa.bool_()), nullable=False),
        *(pa.field(f"{units}_{mode}", CURVE, nullable=False) for units, mode in KINDS),
    ]
)
"""One clip by one method: its weight of each frame and place, and the probability of the predicted class along each
curve."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Curve:
    """One curve of one method over some clips."""

    mean: tuple[float, ...]
    """Probability at every step, mean over clips."""
    area: Interval
    """Under the curve, mean over clips, with a bootstrap interval over clips."""
    against_random: Interval | None
    """Area minus that of random maps of the same clips, paired; None of the random maps themselves."""


@dataclass(frozen=True)
class Benchmark:
    """What was measured."""

    clips: int
    steps: int
    curves: Mapping[Method, Mapping[tuple[Units, Mode], Curve]]
    rows: Sequence[Row]


def measure(dataset: PreparedDataset, job: PredictJob, clips: int, steps: int = STEPS) -> Benchmark:
    """Explain some clips of a split and follow the curves; Ray must be connected.

    A clip costs 4 * (steps - 1) forward passes for each method, and about three more.

    Args:
        dataset: the prepared data set.
        job: as for predictions; of its protocol the centred clip and crop are taken.
        clips: at most so many, spread evenly over the split.
        steps: of every curve.

    Raises:
        UserError: a job larger than the cluster.
    """
    videos = spread(dataset.videos(job.split, job.fold), clips)
    job.check_room()
    return summarise([row for table in _tables(dataset.root, videos, job, steps) for row in table.to_pylist()], steps)


def spread(videos: Sequence[PreparedVideo], count: int) -> list[PreparedVideo]:
    """Return at most `count` of the videos, evenly spaced in their order, the first and the last among them."""
    places = np.linspace(0, len(videos) - 1, min(count, len(videos)))
    return [videos[int(place)] for place in np.rint(places)]


def _tables(root: str, videos: Sequence[PreparedVideo], job: PredictJob, steps: int) -> Iterator[pa.Table]:
    return through(
        blocks_of(videos, job.batch),
        job,
        load_block,
        _Judge,
        loaded_with={"root": root, "protocol": Protocol(clip=job.protocol.clip, view=ViewConfig())},
        made_with=(job, steps),
    )


class _Judge:
    """An actor that holds the network."""

    def __init__(self, job: PredictJob, steps: int) -> None:
        self._job, self._steps = job, steps
        self._network = load(job.checkpoint, gpu=job.gpu, precision=job.precision, threads=job.threads)

    def __call__(self, clips: pa.Table) -> pa.Table:
        """Return a row of every clip and method."""
        facts = clips.select(["id", "idx", "valid"]).to_pylist()
        rows = judge(self._network, stacked(clips), facts, self._job.batch, self._steps)
        return pa.Table.from_pylist(rows, ROW_SCHEMA)


def judge(
    network: Recogniser, x_BTHWC: npt.NDArray[np.uint8], facts: Sequence[Row], batch: int, steps: int
) -> list[dict[str, Any]]:
    """Explain clips by every method and follow their curves.

    Args:
        network: answers.
        x_BTHWC: RGB clips.
        facts: id, idx and valid of each.
        batch: clips of one forward pass.
        steps: of every curve.

    Returns:
        Rows of ROW_SCHEMA.
    """
    x_BCTHW = network.normalised(x_BTHWC)
    intact_BK = _probabilities(network, x_BCTHW, batch)
    empty_1K = _probabilities(network, torch.zeros_like(x_BCTHW[:1]), 1)
    label_B = intact_BK.argmax(dim=1)
    with autocast(network.device, network.precision):
        found = explain(network.model, x_BCTHW, label_B, [fact["id"] for fact in facts], SEED)
    rows = []
    for b, fact in enumerate(facts):
        label = int(label_B[b])
        ends = float(intact_BK[b, label]), float(empty_1K[0, label])
        for method, maps in found.items():
            places_Thw = maps.places_BThw[b]
            where = {"spatial": places_Thw.ravel(), "spatial_shape": places_Thw.shape}
            row = {**fact, "method": method, "predicted": label, "temporal": maps.frames_BT[b], **where}
            for units in UNITS:
                step_THW = _steps(units, maps, b, fact, x_BCTHW.shape[3:], steps).to(x_BCTHW.device)
                for mode in MODES:
                    inner_SCTHW = perturbed(x_BCTHW[b], step_THW, steps, mode)
                    inner_S = _probabilities(network, inner_SCTHW, batch)[:, label].numpy()
                    row[f"{units}_{mode}"] = whole_curve(inner_S, *ends, mode)
            rows.append(row)
    return rows


def _steps(units: Units, maps: Explanations, b: int, fact: Row, size: Sequence[int], steps: int) -> Tensor:
    """Return when each place of a clip goes, T,H,W or T,1,1."""
    rng = generator_of(fact["id"], SEED + 1)
    if units == "frames":
        return torch.from_numpy(frame_steps(maps.frames_BT[b], np.asarray(fact["idx"]), steps, rng)[:, None, None])
    places_1Thw = torch.from_numpy(maps.places_BThw[b : b + 1])
    fine_THW = functional.interpolate(places_1Thw, size=tuple(size), mode="bilinear", align_corners=False)[0]
    return torch.from_numpy(pixel_steps(fine_THW.numpy(), steps, rng))


@torch.inference_mode()
def _probabilities(network: Recogniser, x_NCTHW: Tensor, batch: int) -> Tensor:
    parts = []
    for start in range(0, len(x_NCTHW), batch):
        with autocast(network.device, network.precision):
            logits_NK = network.model(x_NCTHW[start : start + batch]).logits_BK
        parts.append(logits_NK.float().softmax(dim=1).cpu())
    return torch.cat(parts)


def summarise(rows: Sequence[Row], steps: int) -> Benchmark:
    """Return means and intervals of the curves in `rows`, which hold every clip once for each method."""
    by_method = {m: sorted((r for r in rows if r["method"] == m), key=lambda row: str(row["id"])) for m in NAMES}
    curves: dict[Method, dict[tuple[Units, Mode], Curve]] = {}
    for method, own in by_method.items():
        if not own:
            continue
        curves[method] = {}
        for units, mode in KINDS:
            name = f"{units}_{mode}"
            areas = np.array([area(np.asarray(row[name])) for row in own])
            chance = np.array([area(np.asarray(row[name])) for row in by_method["random"]])
            mean = np.mean([row[name] for row in own], axis=0)
            against = None if method == "random" else bootstrap_mean(areas - chance, within=(-1.0, 1.0))
            curves[method][units, mode] = Curve(tuple(mean.tolist()), bootstrap_mean(areas), against)
    return Benchmark(len(by_method["random"]), steps, curves, rows)
