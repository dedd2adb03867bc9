"""Exact accuracies of a classifier: integer counts that add up over parts, and intervals that say how sure they are.

Counts are kept, not averages: a part of the videos can be counted anywhere, parts are added, and every published
number is a quotient of integers. No video is counted twice and none is padded in.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.floating]

Z_95 = 1.959963984540054
"""Standard normal quantile of a two-sided 95 % interval."""
TAIL = 0.025
"""Beyond each end of every interval here."""


@dataclass(frozen=True)
class Interval:
    """An estimate and its two-sided 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Counts:
    """What one branch of a network got right, as integers; `a + b` merges the counts of two disjoint parts."""

    confusion_KK: IntArray
    """Videos of true class (row) that were predicted as class (column)."""
    top5_K: IntArray
    """Videos of each true class whose class was among the `min(5, K)` best scores."""

    def __post_init__(self) -> None:
        classes = len(self.top5_K)
        if self.confusion_KK.shape != (classes, classes):
            raise ValueError(f"confusion_KK must be ({classes}, {classes}). Received: {self.confusion_KK.shape}.")
        if (np.diagonal(self.confusion_KK) > self.top5_K).any() or (self.top5_K > self.total_by_class).any():
            raise ValueError("top-1 hits must not exceed top-5 hits, nor these the number of videos of a class.")

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(self.confusion_KK + other.confusion_KK, self.top5_K + other.top5_K)

    @property
    def classes(self) -> int:
        """K."""
        return len(self.top5_K)

    @property
    def videos(self) -> int:
        """Videos counted."""
        return int(self.confusion_KK.sum())

    @property
    def total_by_class(self) -> IntArray:
        """Videos of each true class."""
        total_K: IntArray = self.confusion_KK.sum(axis=1)
        return total_K

    @property
    def top1_hits(self) -> int:
        """Videos whose best score was the true class."""
        return int(np.trace(self.confusion_KK))

    @property
    def top5_hits(self) -> int:
        """Videos whose true class was among the `min(5, K)` best scores."""
        return int(self.top5_K.sum())

    def top1(self) -> Interval:
        """Share of videos whose best score is the true class (micro average), with its Wilson interval."""
        return wilson(self.top1_hits, self.videos)

    def top5(self) -> Interval:
        """Share of videos whose class is among the `min(5, K)` best, with its Wilson interval; 1 when K <= 5."""
        return wilson(self.top5_hits, self.videos)

    def mean_class_accuracy(self, draws: int = 2000, seed: int = 0) -> Interval:
        """Mean over the classes that have videos of their top-1 shares, with a stratified bootstrap interval.

        Resampling the videos of a class with replacement makes its hits binomial, so the bootstrap needs only counts.
        """
        total_K, hits_K = self.total_by_class, np.diagonal(self.confusion_KK)
        seen = total_K > 0
        if not seen.any():
            return Interval(math.nan, math.nan, math.nan)
        share = hits_K[seen] / total_K[seen]
        drawn = np.random.default_rng(seed).binomial(total_K[seen], share, size=(draws, int(seen.sum())))
        low, high = np.quantile((drawn / total_K[seen]).mean(axis=1), [0.025, 0.975])
        return Interval(float(share.mean()), float(low), float(high))


def empty_counts(classes: int) -> Counts:
    """Counts of no video over `classes` classes: the neutral element of `+`."""
    return Counts(np.zeros((classes, classes), np.int64), np.zeros(classes, np.int64))


def count(scores_BK: FloatArray, label_B: npt.NDArray[np.integer]) -> Counts:
    """Count one part of the videos.

    Equal scores are broken by class index, lowest first, so that the counts depend on nothing but the scores.

    Args:
        scores_BK: scores or logits; only their order matters.
        label_B: true class of each row, in [0, K).

    Returns:
        The part's counts.

    Raises:
        ValueError: shapes that do not match, a label outside [0, K), or a score that is not a number.
    """
    if scores_BK.ndim != 2 or label_B.shape != scores_BK.shape[:1]:
        raise ValueError(f"scores must be (B, K) and labels (B,). Received: {scores_BK.shape}, {label_B.shape}.")
    classes = scores_BK.shape[1]
    if len(label_B) and (label_B.min() < 0 or label_B.max() >= classes):
        raise ValueError(f"labels must be in [0, {classes}). Received: {label_B.min()} to {label_B.max()}.")
    if np.isnan(scores_BK).any():
        raise ValueError(f"{int(np.isnan(scores_BK).any(axis=1).sum())} of {len(label_B)} rows have NaN scores.")
    confusion_KK = np.zeros((classes, classes), np.int64)
    np.add.at(confusion_KK, (label_B, scores_BK.argmax(axis=1)), 1)
    hit_B = rank_of(scores_BK, label_B) < min(5, classes)
    return Counts(confusion_KK, np.bincount(label_B[hit_B], minlength=classes).astype(np.int64))


def rank_of(scores_BK: FloatArray, label_B: npt.NDArray[np.integer]) -> IntArray:
    """Return each row's number of classes that come before its label: higher score, or equal score and lower index."""
    own_B1 = np.take_along_axis(scores_BK, label_B[:, None].astype(np.int64), axis=1)
    earlier_BK = np.arange(scores_BK.shape[1]) < label_B[:, None]
    before_BK = (scores_BK > own_B1) | ((scores_BK == own_B1) & earlier_BK)
    rank_B: IntArray = before_BK.sum(axis=1, dtype=np.int64)
    return rank_B


def wilson(hits: int, total: int) -> Interval:
    """Return `hits / total` with its Wilson score interval (E. B. Wilson, JASA 22, 1927); NaN without videos."""
    if not 0 <= hits <= total:
        raise ValueError(f"hits must be in [0, total]. Received: hits={hits}, total={total}.")
    if total == 0:
        return Interval(math.nan, math.nan, math.nan)
    share, z2 = hits / total, Z_95**2
    centre = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = Z_95 * math.sqrt(share * (1 - share) / total + z2 / (4 * total**2)) / (1 + z2 / total)
    # At 0 and at total the bounds are exactly 0 and 1; rounding must not move them.
    return Interval(share, 0.0 if hits == 0 else centre - half, 1.0 if hits == total else centre + half)


def unanimous(value: float, total: int, within: tuple[float, float]) -> Interval:
    """Return `value` with an interval of the mean of `total` values that all came out as it; a bootstrap has no width.

    Of `total` without an exception at most a share of 1 - 0.025 ** (1 / total), about 3.7 / total, are exceptions: the
    exact bound of Clopper and Pearson (Biometrika 26, 1934). At worst all of these lie at an end of the range.

    Args:
        value: of each.
        total: how many, one or more.
        within: least and largest value that was possible.
    """
    share = 1 - TAIL ** (1 / total)
    low, high = (value + share * (end - value) for end in within)
    return Interval(value, low, high)


def bootstrap_mean(
    values: npt.NDArray[np.float64], draws: int = 2000, seed: int = 0, within: tuple[float, float] | None = None
) -> Interval:
    """Return the mean of `values` with its percentile bootstrap interval over resampled values; NaN without values.

    Args:
        values: one for each video or clip.
        draws: resamples.
        seed: of the resampling.
        within: range of a value; with it, values that are all equal get the interval of `unanimous`, and no empty one.
    """
    if len(values) == 0:
        return Interval(math.nan, math.nan, math.nan)
    if within is not None and values.min() == values.max():
        return unanimous(float(values[0]), len(values), within)
    rng = np.random.default_rng(seed)
    means = np.empty(draws)
    for draw in range(draws):  # one resample at a time: (draws, values) at once is gigabytes at 25,000 clips
        means[draw] = values[rng.integers(len(values), size=len(values))].mean()
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(values.mean()), float(low), float(high))


def softmax(logits_K: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the softmax over the last axis, float32."""
    shifted = np.exp(logits_K - logits_K.max(axis=-1, keepdims=True))
    scores: npt.NDArray[np.float32] = (shifted / shifted.sum(axis=-1, keepdims=True)).astype(np.float32)
    return scores
