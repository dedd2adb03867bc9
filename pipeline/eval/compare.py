"""What one way of answering adds to another, on the same videos; and the mean over folds.

Two accuracies of the same videos are not independent, so their own intervals say little about their difference. What
counts are the videos that only one of them gets right (McNemar, Psychometrika 12, 1947).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.eval.metrics import Interval, unanimous

DRAWS = 2000
"""Resamples of a bootstrap."""


@dataclass(frozen=True)
class Paired:
    """Two ways of answering the same videos."""

    videos: int
    gained: int
    """Videos that only the second got right."""
    lost: int
    """Videos that only the first got right."""

    def difference(self, draws: int = DRAWS, seed: int = 0) -> Interval:
        """Share of videos that the second has right more than the first, with a bootstrap interval over videos.

        Where no video differs, or each in the same way, a bootstrap would be certain of it; the interval is then an
        exact bound (`unanimous`), of no differing video about +-3.7 / videos.
        """
        if not self.videos:
            return Interval(math.nan, math.nan, math.nan)
        if self.videos in (self.gained, self.lost) or not self.gained + self.lost:
            return unanimous((self.gained - self.lost) / self.videos, self.videos, (-1.0, 1.0))
        shares = np.array([self.gained, self.lost, self.videos - self.gained - self.lost]) / self.videos
        drawn = np.random.default_rng(seed).multinomial(self.videos, shares, size=draws)
        low, high = np.quantile((drawn[:, 0] - drawn[:, 1]) / self.videos, [0.025, 0.975])
        return Interval((self.gained - self.lost) / self.videos, float(low), float(high))

    def p_value(self) -> float:
        """Two-sided exact McNemar test: how often a fair coin divides the differing videos at least as unevenly."""
        return min(1.0, 2 * _at_most(min(self.gained, self.lost), self.gained + self.lost))

    def p_worse(self) -> float:
        """One-sided exact McNemar test: how often a fair coin lets the second gain as few of the differing videos."""
        return _at_most(self.gained, self.gained + self.lost)


def _at_most(heads: int, flips: int) -> float:
    """Return the chance of at most so many heads in flips of a fair coin."""
    tail = ways = 1
    for i in range(heads):
        ways = ways * (flips - i) // (i + 1)  # that i + 1 of the flips are heads
        tail += ways
    # Integers until here: 2 ** -flips alone would be 0 for two thousand videos.
    return tail / (1 << flips)


def paired(first_N: npt.NDArray[np.bool_], second_N: npt.NDArray[np.bool_]) -> Paired:
    """Compare two ways of answering.

    Args:
        first_N: which videos the first got right.
        second_N: the same videos, the second.

    Raises:
        ValueError: not the same number of videos.
    """
    if first_N.shape != second_N.shape:
        raise ValueError(f"Both must have answered the same videos. Received: {first_N.shape}, {second_N.shape}.")
    return Paired(len(first_N), int((second_N & ~first_N).sum()), int((first_N & ~second_N).sum()))


def mean_of_folds(hits: Sequence[Mapping[str, bool]], draws: int = DRAWS, seed: int = 0) -> Interval:
    """Return the mean of the folds' accuracies, with a bootstrap interval over videos.

    A video may be tested in several folds (HMDB-51), by another network in each; it is drawn in all of them or in none,
    so that folds which share videos are not taken for independent ones.

    Args:
        hits: for each fold, whether each of its videos was right, by id.
        draws: resamples.
        seed: of the resampling.

    Raises:
        ValueError: no fold, or one without videos.
    """
    if not hits or not all(hits):
        raise ValueError("A mean of folds needs folds with videos.")
    ids = sorted({video_id for fold in hits for video_id in fold})
    in_FN = np.array([[video_id in fold for video_id in ids] for fold in hits], np.float64)
    right_FN = np.array([[fold.get(video_id, False) for video_id in ids] for fold in hits], np.float64)
    rng = np.random.default_rng(seed)
    means = []
    for _ in range(draws):
        times_N = np.bincount(rng.integers(len(ids), size=len(ids)), minlength=len(ids))
        seen_F = in_FN @ times_N
        if seen_F.all():  # a small fold may not be drawn at all, and then has no accuracy
            means.append(float((right_FN @ times_N / seen_F).mean()))
    low, high = np.quantile(means, [0.025, 0.975])
    value = float((right_FN.sum(axis=1) / in_FN.sum(axis=1)).mean())
    return Interval(value, float(low), float(high))
