"""What the gates count: paired answers by class, what churn alone explains, partial credit, steadiness of edits.

Two networks trained on the same still differ on some videos (churn). Whatever estimates that churn here looks at what
the candidate *gained*: gains are as frequent as losses when nothing has changed, and a candidate that loses more videos
cannot thereby excuse its losses. So no statistic of the gates ever improves when the candidate gets worse.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from pipeline.eval.compare import Paired
from pipeline.retrain.evidence import Scored

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

CHURN_STEP = 0.0025
"""Churn is rounded up to multiples of this, so that few tables of chances serve all classes."""
CRASH = 0.6
"""Difference in partial credit from which an answer has crashed, or risen: two trainings of the same seldom differ as
much, a class that breaks does."""


ONE_SIGMA = 0.8413447460685429
"""Share of a normal distribution that lies below its mean plus a standard deviation."""


@dataclass(frozen=True)
class ByClass:
    """Champion and candidate, paired by video and added up by class."""

    videos_K: IntArray
    right_K: IntArray
    """Videos that the champion got right."""
    gained_K: IntArray
    """Videos that only the candidate got right."""
    lost_K: IntArray
    """Videos that only the champion got right."""
    credit_K: FloatArray | None = None
    """Sum over videos of the partial credit that the candidate has more than the champion."""
    upward_K: FloatArray | None = None
    """Sum over videos of the square of that difference where it is positive."""
    risen_K: IntArray | None = None
    """Videos whose credit went up by CRASH or more."""
    crashed_K: IntArray | None = None
    """Videos whose credit went down by CRASH or more."""

    def together(self, mask_K: npt.NDArray[np.bool_] | None = None) -> Paired:
        """Return the comparison over the videos of some classes, or of all."""
        chosen_K = np.ones(len(self.videos_K), bool) if mask_K is None else mask_K
        sums = (int(counts_K[chosen_K].sum()) for counts_K in (self.videos_K, self.gained_K, self.lost_K))
        return Paired(*sums)


def by_class(scored: Scored) -> ByClass:
    """Add up who was right, and partial credit where leads are known."""
    classes = len(scored.classes)
    label_N = np.array(scored.label_N, np.int64)
    champion_N, candidate_N = np.array(scored.champion_N, bool), np.array(scored.candidate_N, bool)

    def count(mask_N: npt.NDArray[np.bool_]) -> IntArray:
        return np.bincount(label_N[mask_N], minlength=classes).astype(np.int64)

    every_N = np.ones(len(label_N), bool)
    counts = ByClass(
        videos_K=count(every_N),
        right_K=count(champion_N),
        gained_K=count(candidate_N & ~champion_N),
        lost_K=count(champion_N & ~candidate_N),
    )
    if not scored.champion_lead_N:
        return counts
    more_N = credit(np.array(scored.candidate_lead_N)) - credit(np.array(scored.champion_lead_N))
    return replace(
        counts,
        credit_K=np.bincount(label_N, more_N, classes).astype(np.float64),
        upward_K=np.bincount(label_N, np.maximum(more_N, 0.0) ** 2, classes).astype(np.float64),
        risen_K=count(more_N >= CRASH),
        crashed_K=count(more_N <= -CRASH),
    )


def holm(p_K: Sequence[float]) -> list[float]:
    """Return p-values adjusted for having tried all of them (S. Holm, Scand. J. Statist. 6, 1979).

    At most a share alpha of families without any true effect holds an adjusted value of at most alpha, however the
    tests depend on each other.
    """
    adjusted, largest = [0.0] * len(p_K), 0.0
    for rank, k in enumerate(sorted(range(len(p_K)), key=lambda k: p_K[k])):
        largest = max(largest, min(1.0, (len(p_K) - rank) * p_K[k]))
        adjusted[k] = largest
    return adjusted


@functools.lru_cache(maxsize=1 << 16)
def p_worse(gained: int, lost: int) -> float:
    """`Paired.p_worse`; the same few counts come up in class after class."""
    return Paired(gained + lost, gained, lost).p_worse()


def churn(gained_K: IntArray, videos_K: IntArray, least: float, prior_videos: float) -> FloatArray:
    """Return for every class in what share of its videos two equally good networks would differ.

    Args:
        gained_K: videos in which the candidate is ahead; those in which it is behind do not count.
        videos_K: of each class.
        least: assumed where less is seen.
        prior_videos: videos that the churn of all classes counts as, beside a class's own.
    """
    everywhere = max(least, 2.0 * float(gained_K.sum()) / max(1, int(videos_K.sum())))
    own_K = 2.0 * gained_K + prior_videos * everywhere
    share_K: FloatArray = np.clip(own_K / np.maximum(videos_K + prior_videos, 1.0), least, 1.0)
    return share_K


def allowed_loss(videos: int, churn: float, alpha: float) -> int:
    """Return the largest net loss, in videos, that churn alone exceeds with a chance of at most alpha.

    Args:
        videos: of a class.
        churn: share of videos in which two equally good networks differ, rounded up to a multiple of CHURN_STEP.
        alpha: the chance.
    """
    return _allowed(videos, math.ceil(churn / CHURN_STEP - 1e-9), alpha)


@functools.lru_cache(maxsize=1 << 16)
def _allowed(videos: int, steps: int, alpha: float) -> int:
    exceeded_L = net_loss_chances(videos, min(1.0, steps * CHURN_STEP))
    return int(np.argmax(exceeded_L[1:] <= alpha))


def net_loss_chances(videos: int, churn: float) -> FloatArray:
    """Return the chance that at least 0, 1, ... videos + 1 more videos are lost than gained when nothing has changed.

    Every video is lost or gained with a chance of churn / 2 each, independently of the others.
    """
    side = churn / 2
    size = 2 * videos + 1
    turn_F = 2 * np.pi * np.fft.rfftfreq(size)
    # The characteristic function of one video's -1, 0 or 1 is real; its power is that of their sum.
    chance_L = np.fft.irfft((1 - churn + 2 * side * np.cos(turn_F)) ** videos, n=size)
    upper_L = np.append(chance_L[: videos + 1], 0.0)
    chances_L: FloatArray = np.clip(np.cumsum(upper_L[::-1])[::-1], 0.0, 1.0)
    return chances_L


def leads(scores_NK: npt.NDArray[np.floating], label_N: IntArray) -> FloatArray:
    """Return by how much the true class leads the best other: log p(true) - log p(best other).

    Args:
        scores_NK: softmax scores.
        label_N: true classes.
    """
    rows_N = np.arange(len(label_N))
    log_NK = np.log(np.maximum(scores_NK.astype(np.float64), 1e-12))
    own_N = log_NK[rows_N, label_N]
    log_NK[rows_N, label_N] = -np.inf
    lead_N: FloatArray = own_N - log_NK.max(axis=1)
    return lead_N


def credit(lead_N: FloatArray, typical: float | None = None) -> FloatArray:
    """Return partial credit: 1 where the true class leads by a typical lead or more, 0 where it trails by that, linear.

    Args:
        lead_N: of a network over the list, or of several networks (..., N).
        typical: what is typical; None takes the median of the network's own |lead|, so that one which is surer of
            everything gets no more credit.
    """
    spans = np.median(np.abs(lead_N), axis=-1, keepdims=True) if typical is None else np.array(typical)
    share_N: FloatArray = np.clip(0.5 + lead_N / (2 * np.where(spans > 0, spans, 1.0)), 0.0, 1.0)
    return share_N


def credit_noise(counts: ByClass, prior_videos: float) -> FloatArray:
    """Return for every class the standard error of its mean difference in credit when nothing has changed.

    Twice the squares of what went up: when nothing has changed, as much goes down.

    Raises:
        ValueError: no credit was counted.
    """
    if counts.upward_K is None:
        raise ValueError("credit_noise needs counts with credit")
    videos_K = np.maximum(counts.videos_K, 1)
    everywhere = 2.0 * float(counts.upward_K.sum()) / max(1, int(counts.videos_K.sum()))
    variance_K = (2.0 * counts.upward_K + prior_videos * everywhere) / (videos_K + prior_videos)
    error_K: FloatArray = np.sqrt(variance_K / videos_K)
    return error_K


def credit_spread(counts: ByClass, untouched_K: npt.NDArray[np.bool_]) -> float:
    """Return by how much the credit of whole classes moves when nothing has changed, as a standard deviation.

    A training may shift whole classes a little, for better or worse, which no scatter of single videos shows. What
    classes that nobody edited have gained says how much: in a normal distribution around 0, the 84th percentile is a
    standard deviation. It holds the scatter of single videos as well.

    Raises:
        ValueError: no credit was counted.
    """
    if counts.credit_K is None:
        raise ValueError("credit_spread needs counts with credit")
    seen_K = untouched_K & (counts.videos_K > 0)
    if not seen_K.any():
        return 0.0
    mean_K = counts.credit_K[seen_K] / counts.videos_K[seen_K]
    return max(0.0, float(np.quantile(mean_K, ONE_SIGMA)))


def steadiness(clips: Sequence[Sequence[float | None]]) -> float | None:
    """Return 1 - changes / changes expected if each clip's set levels stood in random order.

    People paint runs of frames, so their levels rarely change from one frame to the next; levels drawn at random change
    as often as shuffled ones, whatever their shares.

    Args:
        clips: a level or None for every frame of every clip; unset frames are skipped.

    Returns:
        1 down to 0 and below; None when no clip has two different levels.
    """
    changes = expected = 0.0
    for clip in clips:
        set_V = np.array([score for score in clip if score is not None], np.float64)
        frames = len(set_V)
        if frames < 2:
            continue
        _, count_L = np.unique(set_V, return_counts=True)
        equal = float((count_L * (count_L - 1)).sum()) / (frames * (frames - 1))
        changes += float((np.diff(set_V) != 0).sum())
        expected += (frames - 1) * (1.0 - equal)
    return 1.0 - changes / expected if expected else None
