"""Which trial is best: edited classes, other classes and attention are judged, since one number hides what it cost.

Rule: a trial that is worse than the control in any of the three may not win: top-1 of the edited classes lower, of the
others lower by more than a margin, attention farther from held-out edits. Of the rest, those are as good as the best
whose edited top-1 lies within one standard error of the highest (the rule of Breiman et al., 1984, for choosing among
models); the one with the nearest attention wins, of equals the one with the higher edited top-1, then the first. The
control takes part, so a sweep in which nothing helps says so.

Without held-out edits the highest top-1 wins. Where no classes are edited there is one group, "all".
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.eval.metrics import Z_95, Interval
from pipeline.finetune.table import Share
from pipeline.tune.ledger import Rung, Trial

EDITED, OTHER, ALL = "edited", "other", "all"
ATTENTION = "attention"
OUTRANKED = 200.0
"""Percent that a rung loses when its other classes have fallen too far, or its attention has. Above 100 and a video's
worth, so that it ranks below every rung where neither has, even at 100 % against 0 %."""


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

    @property
    def distance(self) -> float:
        """Of attention to held-out edits; infinite where nobody knows it, which is never better than a known one."""
        return self.heldout.value if self.heldout is not None else math.inf


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


def losses(score: Score, control: Score | None, margin: float) -> list[str]:
    """Return in what a trial is worse than the control; one that is in anything may not win.

    Args:
        score: of a trial.
        control: of the control at the same epoch; None: nothing to hold it against.
        margin: percent points that the other classes may lose. The edited ones may lose none: they are to rise.
    """
    if control is None:
        return []
    first, *others = score.groups
    floors = {first: control.percent(first)} | {group: control.percent(group) - margin for group in others}
    lost = [group for group, floor in floors.items() if score.percent(group) < floor]
    # Asked the other way round, so that a distance that is no number counts as a loss.
    is_near = control.heldout is None or score.distance <= control.distance
    return lost if is_near else [*lost, ATTENTION]


def rank_of(score: Score, control: Score | None, margin: float) -> float:
    """Return one number that orders trials on the way, for schedulers that stop some early.

    It is the top-1 of the edited classes in percent, less what the distance of attention to held-out edits (0 to 1)
    makes of one video's worth, so that it decides between equals alone; and less 200 where the other classes or
    attention are worse than the control's. No gain of the edited classes makes up for that. Who is as good as the best
    it cannot say: a trial has its number before the best is known.

    Args:
        score: of a trial.
        control: of the control at the same epoch; None: nothing to hold it against.
        margin: percent points that the other classes may lose.
    """
    first = score.groups[0]
    is_paid_for = bool(set(losses(score, control, margin)) - {first})
    known = min(1.0, score.distance) if score.heldout is not None else 0.0
    return score.percent(first) - 100.0 * known / (score.shares[first].videos + 1) - OUTRANKED * is_paid_for


def winner(scores: Mapping[int, Score], control: int, margin: float) -> int:
    """Return the number of the best trial by the rule above.

    Args:
        scores: of the trials that have come to their end, by number.
        control: number of the control, which is one of them.
        margin: percent points that the other classes may lose against it.
    """
    held = scores[control]
    return min(
        as_good(scores, control, margin),
        key=lambda number: (scores[number].distance, -scores[number].percent(held.groups[0]), number),
    )


def as_good(scores: Mapping[int, Score], control: int, margin: float) -> list[int]:
    """Return the trials that may win and whose edited top-1 lies within one standard error of the highest.

    Which videos a trial had right is not kept, so there is no paired test.
    """
    held = scores[control]
    first = held.groups[0]
    allowed = [n for n, score in scores.items() if n == control or not losses(score, held, margin)]
    best = max((scores[n] for n in allowed), key=lambda score: score.percent(first))
    floor = best.percent(first)
    if held.heldout is not None:
        share = best.shares[first].hits / best.shares[first].videos
        floor -= 100.0 * math.sqrt(share * (1.0 - share) / best.shares[first].videos)
    return [number for number in allowed if scores[number].percent(first) >= floor]


def goods(scores: Sequence[Score]) -> list[tuple[float, ...]]:
    """Return what is to be raised of each score: top-1 of every group, and how near attention is to held-out edits.

    Nearness is left out where one of them lacks it: a clip length may show none of the frames that people set.
    """
    has_distance = bool(scores) and all(score.heldout is not None for score in scores)
    return [
        (*(score.percent(group) for group in score.groups), *((-score.distance,) if has_distance else ()))
        for score in scores
    ]


def front(scores: Mapping[int, Score]) -> list[int]:
    """Return the trials that no other trial beats in all groups and in attention together (Pareto), best first."""
    found = dict(zip(scores, goods(list(scores.values())), strict=True))

    def beaten(one: Sequence[float]) -> bool:
        return any(all(b >= a for a, b in zip(one, other, strict=True)) and other != one for other in found.values())

    kept = [number for number, one in found.items() if not beaten(one)]
    return sorted(kept, key=lambda number: -found[number][0])
