"""Does spatial attention lie where the object is? Measured on videos where that is known (make_synth).

Of every frame of the action two numbers: the AUC (the probability that a cell of the map which lies in the object's
box, by half or more, has more attention than another one, ties counting half), and the share of the map's attention
that lies in the box, beside the share of its area, which is what attention without a preference has. Both are averaged
over the frames of a clip, then over clips, with a bootstrap interval over clips. Stated as measured, whichever way it
points.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core import storage
from pipeline.core.errors import UserError, problem
from pipeline.data.config import ClipConfig
from pipeline.data.feed.place import Boxes, Place, centre_place, covered
from pipeline.data.store.prepared import PreparedDataset
from pipeline.eval.metrics import Interval, bootstrap_mean
from pipeline.eval.truth import BoolArray, auc


@dataclass(frozen=True)
class Known:
    """What is known of a video."""

    active_V: BoolArray
    """Frames that belong to the action."""
    boxes_V: Sequence[Boxes]
    """Where the object is seen in each frame, as shares of the frame."""


@dataclass(frozen=True)
class Pointing:
    """Spatial attention against the object's boxes over a set of clips."""

    clips: int
    """Clips measured."""
    left_out: int
    """Clips without a frame of the action whose map has cells both in the box and outside of it."""
    auc: Interval
    """Mean over clips; 0.5 is chance."""
    mass: Interval
    """Share of the attention that lies in the box, mean over clips."""
    area: float
    """Share of the map that the box is, mean over clips: the mass of a map that is alike everywhere."""

    def sentence(self) -> str:
        """Say what was measured."""
        if self.clips == 0:
            return f"Spatial attention against truth: no clip has frames to compare ({self.left_out} seen)."
        a, m = self.auc, self.mass
        return (
            f"Spatial attention in frames of the action: AUC {a.value:.3f} ({a.low:.3f} to {a.high:.3f}) of cells on "
            f"the object against others; {100 * m.value:.1f} % of it lies there ({100 * m.low:.1f} to "
            f"{100 * m.high:.1f}), of the area {100 * self.area:.1f} %; over {self.clips} clips, {self.left_out} left "
            "out."
        )


def read_known(uri: str) -> dict[str, Known]:
    """Read active frames and boxes of every video from a truth file of make_synth.

    Raises:
        UserError: no such file, or one without boxes.
    """
    fix = "give the truth.parquet of videos that jobs/make_synth.py has made anew"
    try:
        table = pq.read_table(pa.BufferReader(storage.read_bytes(uri)), columns=["id", "active", "boxes"])
    except FileNotFoundError as error:
        raise UserError(problem("There is no truth file", got=uri, allowed="an existing file", fix=fix)) from error
    except pa.ArrowInvalid as error:
        got, allowed = f"{uri} ({error})", "id, active, boxes"
        what = "The truth file does not say where the object is"
        raise UserError(problem(what, got=got, allowed=allowed, fix=fix)) from error
    return {
        row["id"]: Known(
            np.array(row["active"], np.bool_), [np.array(boxes, np.float32).reshape(-1, 4) for boxes in row["boxes"]]
        )
        for row in table.to_pylist()
    }


def has_boxes(uri: str) -> bool:
    """Return whether a truth file says where the object is, and not only when."""
    return "boxes" in pq.read_schema(pa.BufferReader(storage.read_bytes(uri))).names


def centre_places(dataset: PreparedDataset, clip: ClipConfig) -> dict[str, Place]:
    """Return what a test clip shows of every readable video."""
    return {row.id: centre_place(row.height, row.width, clip) for row in dataset.rows if row.status == "readable"}


def point(rows: Iterable[Mapping[str, object]], known: Mapping[str, Known], places: Mapping[str, Place]) -> Pointing:
    """Compare the spatial attention of predictions with the truth.

    Args:
        rows: predictions with id, spatial, spatial_shape, idx and valid, one a clip; padding is left out.
        known: by video.
        places: what each video's clip shows.

    Raises:
        UserError: a prediction whose video the truth does not know, or one shorter than the sampled frames.
    """
    found: list[tuple[float, float, float]] = []
    seen = 0
    for row in rows:
        seen += 1
        video, idx_T = str(row["id"]), np.asarray(row["idx"])
        truth = known.get(video)
        if truth is None or int(idx_T.max()) >= len(truth.active_V):
            got = "no entry" if truth is None else f"{len(truth.active_V)} frames"
            allowed = f"an entry with at least {int(idx_T.max()) + 1} frames"
            fix = "use the truth file that was made together with these videos"
            raise UserError(problem(f"The truth does not fit video {video}", got=got, allowed=allowed, fix=fix))
        spatial_THW = np.asarray(row["spatial"], np.float64).reshape(np.asarray(row["spatial_shape"]))
        shown_T = np.asarray(row["valid"], np.bool_) & truth.active_V[idx_T]
        frames = [
            numbers
            for t in np.flatnonzero(shown_T)
            if (numbers := _frame(spatial_THW[t], places[video].seen(truth.boxes_V[idx_T[t]]))) is not None
        ]
        if frames:
            found.append(tuple(np.mean(frames, axis=0).tolist()))
    values_N3 = np.array(found).reshape(-1, 3)
    area = float(values_N3[:, 2].mean()) if found else 0.0
    intervals = bootstrap_mean(values_N3[:, 0]), bootstrap_mean(values_N3[:, 1])
    return Pointing(len(found), seen - len(found), *intervals, area)


def _frame(map_HW: npt.NDArray[np.float64], boxes_N4: Boxes) -> tuple[float, float, float] | None:
    """Return AUC, mass and area of a frame; None where all cells or none lie on the object."""
    share_HW = covered(boxes_N4, *map_HW.shape)
    inside_HW = share_HW >= 0.5
    if inside_HW.all() or not inside_HW.any():
        return None
    mass = float((map_HW * share_HW).sum() / map_HW.sum()) if map_HW.sum() > 0 else float(share_HW.mean())
    return auc(map_HW.ravel(), inside_HW.ravel()), mass, float(share_HW.mean())
