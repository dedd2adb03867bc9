"""What a network saw and attended to in one clip: the value that every picture and page is drawn from."""

import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.eval.metrics import softmax

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """One clip, the network's scores for it and its two attentions; raw sigmoid values in [0, 1], never rescaled."""

    source: str
    """The video, as a reader should see it: its id or file name."""
    fps: float
    """Frames per second of the video."""
    x_THWC: npt.NDArray[np.uint8]
    """RGB pixels that the network saw: after resize and crop."""
    idx_T: npt.NDArray[np.int32]
    """Video frame behind each clip frame."""
    valid_T: npt.NDArray[np.bool_]
    """False where a short video was padded with its last frame."""
    logits_K: FloatArray
    """Perception branch, before softmax; the prediction."""
    att_logits_K: FloatArray
    """Attention branch, before softmax; a secondary prediction."""
    spatial_THW: FloatArray
    """Spatial attention at the network's own resolution."""
    temporal_T: FloatArray
    """Temporal attention, one value a frame."""
    classes: tuple[str, ...]
    """Class texts by class index."""
    label: int | None = None
    """True class, where it is known."""
    active_T: npt.NDArray[np.bool_] | None = None
    """True where something that decides the class happens, where it is known (synthetic videos)."""

    def __post_init__(self) -> None:
        frames, classes = len(self.idx_T), len(self.classes)
        lengths = {"x_THWC": self.x_THWC, "valid_T": self.valid_T, "spatial_THW": self.spatial_THW}
        lengths |= {"temporal_T": self.temporal_T} | ({} if self.active_T is None else {"active_T": self.active_T})
        for name, array in lengths.items():
            if len(array) != frames:
                raise ValueError(f"{name} must have T={frames} entries, as idx_T has. Received: {array.shape}.")
        for name, logits in (("logits_K", self.logits_K), ("att_logits_K", self.att_logits_K)):
            if logits.shape != (classes,):
                raise ValueError(f"{name} must have K={classes} entries, as classes has. Received: {logits.shape}.")
        if self.label is not None and not 0 <= self.label < classes:
            raise ValueError(f"label must be in [0, {classes}) or None. Received: {self.label}.")

    @property
    def scores(self) -> FloatArray:
        """Softmax of the perception logits."""
        return softmax(self.logits_K)

    @property
    def seconds(self) -> npt.NDArray[np.float64]:
        """Time of each clip frame from the start of the video, seconds."""
        seconds_T: npt.NDArray[np.float64] = self.idx_T / self.fps
        return seconds_T


def best(scores_K: FloatArray, count: int = 5) -> list[int]:
    """Return the indices of the `min(count, K)` best scores, best first, ties by index."""
    return [int(k) for k in np.argsort(-scores_K, kind="stable")[:count]]


def minmax(values: FloatArray) -> FloatArray:
    """Stretch `values` to [0, 1] for display; a constant stays what it is. Never to be saved or trained on."""
    low, high = float(values.min()), float(values.max())
    return values if high == low else ((values - low) / (high - low)).astype(np.float32)


def to_npz(explanation: Explanation) -> bytes:
    """Return the arrays as an uncompressed .npz: spatial, temporal, idx, valid, logits, att_logits, fps, classes.

    Pixels are left out: they are the video's, at `idx`.
    """
    buffer = io.BytesIO()
    np.savez(
        buffer,
        spatial=explanation.spatial_THW,
        temporal=explanation.temporal_T,
        idx=explanation.idx_T,
        valid=explanation.valid_T,
        logits=explanation.logits_K,
        att_logits=explanation.att_logits_K,
        fps=np.float64(explanation.fps),
        classes=np.array(explanation.classes),
    )
    return buffer.getvalue()
