"""The weight of two streams in their fusion, swept over stored predictions: nothing is trained or predicted again.

A weight chosen on the videos that it is scored on flatters itself. So beside the curve stands what choosing is worth:
every part of the videos is scored with the weight that the other parts would choose.
"""

from __future__ import annotations

import io
import json
import zlib
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import torch
from matplotlib.figure import Figure

from models.two_stream import FUSION, fuse
from pipeline.core import storage
from pipeline.core.errors import UserError, problem
from pipeline.data.records import HIDDEN_LABEL
from pipeline.eval.compare import Paired, paired
from pipeline.eval.metrics import Interval, wilson
from pipeline.two_stream.answer import VARIANTS, Variant
from pipeline.two_stream.curves import COLOURS, label
from pipeline.two_stream.predict import column
from pipeline.two_stream.results import sentence

BoolArray = npt.NDArray[np.bool_]
POINTS = 101
PARTS = 5
FIXED = FUSION[1] / sum(FUSION)
"""Share of the temporal stream in the weights that nobody tuned."""


@dataclass(frozen=True)
class Stored:
    """Predictions of a system for labelled videos."""

    ids: tuple[str, ...]
    label_N: npt.NDArray[np.int64]
    spatial_NK: npt.NDArray[np.float32]
    temporal_NK: npt.NDArray[np.float32]
    about: dict[str, str]
    """What the file says of itself: system, split, protocol."""


@dataclass(frozen=True)
class FusionSweep:
    """Top-1 against the temporal stream's share of the weights, 0 to 1."""

    shares_W: npt.NDArray[np.float64]
    right_WN: BoolArray
    best: int
    """Place of the winner among the shares."""
    fixed_N: BoolArray
    """Which videos the untuned weights get right."""
    chosen_N: BoolArray
    """Which videos are right with the weight that the other parts choose."""

    def top1(self, place: int) -> Interval:
        """Return top-1 of a weight, with its Wilson interval."""
        right_N = self.right_WN[place]
        return wilson(int(right_N.sum()), len(right_N))

    @property
    def worth(self) -> Paired:
        """What choosing a weight adds to the untuned one, on videos that did not choose it."""
        return paired(self.fixed_N, self.chosen_N)

    @property
    def weights(self) -> tuple[float, float]:
        """Of the spatial and the temporal stream, the winner's."""
        share = float(self.shares_W[self.best])
        return round(1.0 - share, 4), round(share, 4)


def read_stored(uri: str, variant: Variant | None = None) -> Stored:
    """Read the predictions of jobs/evaluate_two_stream.py; videos without a published label are left out.

    Args:
        uri: predictions.parquet, a path or URI.
        variant: which of the system's answers; None: with attention where there is it.

    Raises:
        UserError: no such file, none of the variant, or no labelled video.
    """
    filesystem, path = storage.resolve(uri)
    try:
        table = pq.read_table(path, filesystem=filesystem)
    except FileNotFoundError as error:
        fix = "test the system with jobs/evaluate_two_stream.py, and give its predictions.parquet"
        raise UserError(problem("There are no predictions", got=uri, allowed="a file of a test", fix=fix)) from error
    has = [one for one in VARIANTS if column(one, "spatial") in table.column_names]
    asked = variant or ("with" if "with" in has else "without")
    if asked not in has:
        fix = "test the system with that variant, or leave --variant away"
        raise UserError(problem("The file lacks that variant", got=asked, allowed=", ".join(has) or "none", fix=fix))
    rows = [row for row in table.to_pylist() if row["label"] != HIDDEN_LABEL]
    if not rows:
        fix = "test a split with published labels"
        raise UserError(problem("No prediction has a label", got=uri, allowed="labelled videos", fix=fix))
    about = {k.decode().removeprefix("star."): v.decode() for k, v in (table.schema.metadata or {}).items()}
    return Stored(
        ids=tuple(row["id"] for row in rows),
        label_N=np.array([row["label"] for row in rows], np.int64),
        spatial_NK=np.array([row[column(asked, "spatial")] for row in rows], np.float32),
        temporal_NK=np.array([row[column(asked, "temporal")] for row in rows], np.float32),
        about={**about, "variant": asked},
    )


def sweep_fusion(stored: Stored, points: int = POINTS) -> FusionSweep:
    """Score every weight; of equally good ones the nearest to the untuned wins.

    Args:
        stored: predictions.
        points: weights from spatial alone to temporal alone.
    """
    shares_W = np.linspace(0.0, 1.0, points)
    right_WN = np.stack([_right(stored, float(share)) for share in shares_W])
    part_N = np.array([zlib.crc32(video.encode()) % PARTS for video in stored.ids])
    chosen_N = np.zeros(len(part_N), np.bool_)
    for part in range(PARTS):
        inside_N = part_N == part
        chosen_N[inside_N] = right_WN[_best(shares_W, right_WN[:, ~inside_N])][inside_N]
    return FusionSweep(shares_W, right_WN, _best(shares_W, right_WN), _right(stored, FIXED), chosen_N)


def _right(stored: Stored, share: float) -> BoolArray:
    spatial_NK, temporal_NK = torch.from_numpy(stored.spatial_NK), torch.from_numpy(stored.temporal_NK)
    fused_NK = fuse(spatial_NK.double(), temporal_NK.double(), (1.0 - share, share)).numpy()
    right_N: BoolArray = fused_NK.argmax(axis=1) == stored.label_N
    return right_N


def _best(shares_W: npt.NDArray[np.float64], right_WN: BoolArray) -> int:
    hits_W = right_WN.sum(axis=1)
    return min(range(len(shares_W)), key=lambda place: (-int(hits_W[place]), abs(float(shares_W[place]) - FIXED)))


def write_fusion(stored: Stored, found: FusionSweep, command: str, out: str) -> str:
    """Write table.txt, results.json, fusion.png and winner.sh to a folder, and return the table.

    Args:
        stored: predictions.
        found: from `sweep_fusion`.
        command: tests the system with the winner.
        out: folder, a path or URI.
    """
    best, fixed = found.top1(found.best), wilson(int(found.fixed_N.sum()), len(found.fixed_N))
    chosen = wilson(int(found.chosen_N.sum()), len(found.chosen_N))
    spatial, temporal = found.weights

    def row(name: str, one: Interval) -> str:
        return f"  {name:44s}{100 * one.value:6.2f}   (95 % {100 * one.low:.2f} to {100 * one.high:.2f})"

    text = "\n".join(
        [
            f"fusion of {stored.about.get('system', 'a system')}, {stored.about.get('split', '')}, "
            f"{stored.about['variant']}: top-1 % of {len(stored.ids)} videos",
            row("spatial alone", found.top1(0)),
            row("temporal alone", found.top1(len(found.shares_W) - 1)),
            row(f"untuned, {FUSION[0]:g} : {FUSION[1]:g}", fixed),
            row(f"best of {len(found.shares_W)} weights, {spatial:g} : {temporal:g}", best),
            row(f"chosen on four fifths, scored on the fifth, x {PARTS}", chosen),
            f"what choosing is worth: {sentence(found.worth)}",
            "The best weight was chosen on these videos, so its own number flatters it: use it on others.",
            "",
            f"  {command}",
        ]
    )
    results: dict[str, Any] = {
        **stored.about,
        "videos": len(stored.ids),
        "winner": [spatial, temporal],
        "best": asdict(best),
        "untuned": asdict(fixed),
        "cross_fitted": asdict(chosen),
        "worth": {**asdict(found.worth), "p": found.worth.p_value()},
        "curve": [[float(s), asdict(found.top1(place))] for place, s in enumerate(found.shares_W)],
        "command": command,
    }
    files = {
        "table.txt": f"{text}\n".encode(),
        "results.json": (json.dumps(results, indent=1) + "\n").encode(),
        "fusion.png": draw_fusion(found),
        "winner.sh": f"#!/bin/sh\n{command}\n".encode(),
    }
    for name, data in files.items():
        storage.publish_bytes(storage.join(out, name), data)
    return text


def draw_fusion(found: FusionSweep) -> bytes:
    """Draw top-1 with 95 % intervals against the temporal stream's share, as a PNG."""
    figure = Figure(figsize=(7.2, 4.2), dpi=110, layout="constrained")
    axes = figure.subplots()
    curve = [found.top1(place) for place in range(len(found.shares_W))]
    low, high = [100 * one.low for one in curve], [100 * one.high for one in curve]
    axes.fill_between(found.shares_W, low, high, color=COLOURS[0], alpha=0.15, linewidth=0)
    axes.plot(found.shares_W, [100 * one.value for one in curve], color=COLOURS[0], linewidth=1.8)
    axes.axvline(FIXED, color="#8a9099", linestyle="--", linewidth=1.2, label=f"untuned, {FUSION[0]:g} : {FUSION[1]:g}")
    place = found.shares_W[found.best]
    axes.plot([place], [100 * curve[found.best].value], "*", color=COLOURS[1], markersize=13, label="best here")
    level = 100 * float(found.chosen_N.mean())
    axes.axhline(level, color=COLOURS[2], linewidth=1.2, linestyle=":", label="chosen on other videos")
    axes.legend(frameon=False, fontsize=9)
    label(axes, "fusion of both streams", "share of the temporal stream", "top-1 %")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
