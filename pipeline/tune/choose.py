"""Which trial is best: the pair (edited, other) is judged, since one accuracy over all hides what it cost.

Rule: among the trials whose top-1 of the other classes is at most a margin below the control's, the one with the
highest top-1 of the edited classes; of equals the one whose attention is nearer to held-out edits, then the first. The
control takes part, so a sweep in which nothing helps says so. Where no classes are edited there is one group, "all".
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.eval.metrics import Z_95, Interval
from pipeline.finetune.table import Share
from pipeline.tune.ledger import Rung, Trial

EDITED, OTHER, ALL = "edited", "other", "all"
OUTRANKED = 200.0
"""Percent that a rung loses when its other classes have fallen too far. Above 100, so that it ranks below every rung
where they have not, even at 100 % against 0 %."""


@dataclass(frozen=True)
class Score:
    """What a validation says of a network."""

    shares: Mapping[str, Share]
    """edited and other, or all."""
    heldout: Interval | None = None
    """Mean squared difference of temporal attention to held-out edits; None where there are none."""
    heldout_videos: int = 0

    @property
    def groups(self) -> tuple[str, ...]:
        """The first one is to be raised; a second one must not fall, and is left out where it has no video."""
        first, *others = self.shares
        return (first, *(group for group in others if self.shares[group].videos))

    def percent(self, group: str) -> float:
        """Return top-1 of a group."""
        share = self.shares[group]
        return 100.0 * share.hits / share.videos if share.videos else math.nan


def score_of(rung: Rung, videos: int) -> Score:
    """Return what a rung's metrics say.

    Args:
        rung: a validation.
        videos: of the validation split.
    """
    m = rung.metrics
    if "edited_hits" not in m:
        return Score({ALL: Share(round(m["top1"] * videos / 100.0), videos)})
    shares = {group: Share(round(m[f"{group}_hits"]), round(m[f"{group}_videos"])) for group in (EDITED, OTHER)}
    count = round(m.get("heldout_videos", 0.0))
    if not count:
        return Score(shares)
    half = Z_95 * m["heldout_sd"] / math.sqrt(count)
    mean = m["heldout_mse"]
    return Score(shares, Interval(mean, max(0.0, mean - half), mean + half), count)


def last_score(trial: Trial, videos: int) -> Score | None:
    """Return the score of a trial's last validation; None before the first."""
    return score_of(trial.rungs[-1], videos) if trial.rungs else None


def is_allowed(score: Score, control: Score | None, margin: float) -> bool:
    """Return whether the other classes have not fallen too far.

    Args:
        score: of a trial.
        control: of the control at the same epoch; None: nothing to hold it against.
        margin: percent points that the other classes may lose.
    """
    _, *others = score.groups
    return control is None or all(score.percent(group) >= control.percent(group) - margin for group in others)


def rank_of(score: Score, control: Score | None, margin: float) -> float:
    """Return one number that orders trials on the way, for schedulers that stop some early.

    Args:
        score: of a trial.
        control: of the control at the same epoch; None: nothing to hold it against.
        margin: percent points that the other classes may lose.
    """
    return score.percent(score.groups[0]) - OUTRANKED * (not is_allowed(score, control, margin))


def winner(scores: Mapping[int, Score], control: int, margin: float) -> int:
    """Return the number of the best trial by the rule above.

    Args:
        scores: of the trials that have come to their end, by number.
        control: number of the control, which is one of them.
        margin: percent points that the other classes may lose against it.
    """
    held = scores[control]
    allowed = [n for n, score in scores.items() if n == control or is_allowed(score, held, margin)]
    first = held.groups[0]

    def order(number: int) -> tuple[float, float, int]:
        score = scores[number]
        return -score.percent(first), score.heldout.value if score.heldout else math.inf, number

    return min(allowed, key=order)


def front(scores: Mapping[int, Score]) -> list[int]:
    """Return the trials that no other trial beats in all groups and in attention together (Pareto), best first."""

    def goods(score: Score) -> Sequence[float]:
        return (*(score.percent(g) for g in score.groups), -score.heldout.value if score.heldout else 0.0)

    def beaten(one: Sequence[float]) -> bool:
        others = (goods(score) for score in scores.values())
        return any(all(b >= a for a, b in zip(one, other, strict=True)) and other != one for other in others)

    kept = [number for number, score in scores.items() if not beaten(goods(score))]
    return sorted(kept, key=lambda number: -goods(scores[number])[0])
