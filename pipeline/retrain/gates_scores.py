"""The gates over right and wrong answers: all videos, edited classes, the others, and every class by itself."""

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from pipeline.eval.compare import Paired
from pipeline.retrain import stats
from pipeline.retrain.policy import Better, Classes, Credit, Policy, Worse
from pipeline.retrain.stats import ByClass
from pipeline.retrain.verdict import GateResult, missing, result

NAMED = 3
"""Classes that a sentence names."""


def judge_scores(
    counts: ByClass, classes: Sequence[str], edited_K: npt.NDArray[np.bool_], policy: Policy
) -> list[GateResult]:
    """Judge what a candidate answers.

    Args:
        counts: of the frozen list.
        classes: texts by class index.
        edited_K: which classes the new batches touch.
        policy: the limits.
    """
    everything_K = np.ones_like(edited_K)
    return [
        _not_worse("overall", "all classes", counts, everything_K, policy.overall),
        _not_worse("edited", "edited classes", counts, edited_K, policy.edited),
        _better(counts, edited_K, policy.edited_better),
        _not_worse("untouched", "classes that nobody edited", counts, ~edited_K, policy.untouched),
        _paired_classes(counts, classes, policy.classes),
        _floor(counts, classes, policy.classes),
        _credit(counts, classes, edited_K, policy.credit),
        _crash(counts, classes, policy.credit),
    ]


def _figures(pair: Paired) -> dict[str, float]:
    points = 100.0 * (pair.gained - pair.lost) / pair.videos
    return {"points": points, "videos": pair.videos, "gained": pair.gained, "lost": pair.lost}


def _change(group: str, counts: ByClass, mask_K: npt.NDArray[np.bool_], pair: Paired) -> str:
    right = int(counts.right_K[mask_K].sum())
    before, after = (100.0 * hits / pair.videos for hits in (right, right + pair.gained - pair.lost))
    return (
        f"Top-1 over the {pair.videos:,} videos of {group} went from {before:.2f} to {after:.2f} "
        f"({after - before:+.2f} points; {pair.gained:,} gained, {pair.lost:,} lost)"
    )


def _not_worse(gate: str, group: str, counts: ByClass, mask_K: npt.NDArray[np.bool_], limits: Worse) -> GateResult:
    pair = counts.together(mask_K)
    if not pair.videos:
        return missing(gate, limits.missing, f"The list holds no video of {group}", {"videos": 0})
    p, figures = pair.p_worse(), _figures(pair)
    too_much, sure = figures["points"] < -limits.margin_points, p <= limits.alpha
    if too_much and sure:
        said = f"a loss beyond the margin of {limits.margin_points:g} and beyond chance (p {p:.2g})"
    elif too_much:
        said = f"beyond the margin of {limits.margin_points:g}, but within chance (p {p:.2g})"
    else:
        said = "not worse" if pair.lost <= pair.gained else f"within the margin of {limits.margin_points:g}"
    asked = {"margin_points": limits.margin_points, "alpha": limits.alpha}
    sentence = f"{_change(group, counts, mask_K, pair)}: {said}."
    return result(gate, not (too_much and sure), {**figures, "p_worse": p}, asked, sentence)


def _better(counts: ByClass, edited_K: npt.NDArray[np.bool_], limits: Better) -> GateResult:
    gate, group, pair = "edited_better", "edited classes", counts.together(edited_K)
    if not pair.videos:
        what = f"The list holds no video of {group}"
        return missing(gate, limits.missing, what, {"videos": 0}, "benefit")
    p, figures = Paired(pair.videos, pair.lost, pair.gained).p_worse(), _figures(pair)
    passed = figures["points"] > limits.gain_points and p <= limits.alpha
    said = "better" if passed else f"not shown to be better (chance alone: p {p:.2g}, asked {limits.alpha:g})"
    asked = {"gain_points": limits.gain_points, "alpha": limits.alpha}
    sentence = f"{_change(group, counts, edited_K, pair)}: {said}."
    return result(gate, passed, {**figures, "p_better": p}, asked, sentence, "benefit")


def _paired_classes(counts: ByClass, classes: Sequence[str], limits: Classes) -> GateResult:
    seen = [int(k) for k in np.flatnonzero(counts.videos_K)]
    adjusted = stats.holm([stats.p_worse(int(counts.gained_K[k]), int(counts.lost_K[k])) for k in seen])
    worse = sorted((p, k) for p, k in zip(adjusted, seen, strict=True) if p <= limits.alpha)
    named = [f"{classes[k]} ({counts.gained_K[k]} gained, {counts.lost_K[k]} lost)" for _, k in worse]
    figures = {"classes": len(seen), "worse": len(worse), "least_p": min(adjusted, default=1.0)}
    sentence = (
        f"Worse by the paired exact test with Holm's correction: {_few(named)}."
        if worse
        else f"None of {len(seen)} classes is worse by the paired exact test with Holm's correction."
    )
    return result("classes", not worse, figures, {"alpha": limits.alpha}, sentence)


def _floor(counts: ByClass, classes: Sequence[str], limits: Classes) -> GateResult:
    churn_K = stats.churn(counts.gained_K, counts.videos_K, limits.least_churn, limits.prior_videos)
    net_K = counts.lost_K - counts.gained_K
    fallen, most = _fallen(net_K, counts.videos_K, churn_K, limits.floor_points, limits.floor_alpha, classes)
    number = int((counts.videos_K > 0).sum())
    figures = {"classes": number, "fallen": len(fallen), "most_lost_points": most}
    sentence = f"Below the floor: {_few(fallen)}." if fallen else f"None of {number} classes fell below the floor."
    asked = {"points": limits.floor_points, "alpha": limits.floor_alpha}
    return result("class_floor", not fallen, figures, asked, sentence)


def _fallen(
    net_K: npt.NDArray[np.int64],
    videos_K: npt.NDArray[np.int64],
    churn_K: npt.NDArray[np.float64],
    points: float,
    alpha: float,
    classes: Sequence[str],
) -> tuple[list[str], float]:
    """Return the classes that lost more videos, net, than the points and churn allow, and the most points lost."""
    share_K = 100.0 * net_K / np.maximum(videos_K, 1)
    each, fallen = alpha / max(1, int((videos_K > 0).sum())), []
    for k in map(int, np.flatnonzero(share_K > points)):
        allowed = stats.allowed_loss(int(videos_K[k]), float(churn_K[k]), each)
        if net_K[k] > allowed:
            may = max(points, 100.0 * allowed / int(videos_K[k]))
            text = f"{classes[k]} ({share_K[k]:.1f} points of {videos_K[k]} videos, may lose {may:.1f})"
            fallen.append((may - float(share_K[k]), text))
    return [text for _, text in sorted(fallen)], max(0.0, float(share_K.max(initial=0.0)))


def _credit(counts: ByClass, classes: Sequence[str], edited_K: npt.NDArray[np.bool_], limits: Credit) -> GateResult:
    if counts.credit_K is None:
        what = "The evidence does not say by how much networks were right or wrong"
        return missing("class_credit", limits.missing, what, {})
    seen_K = counts.videos_K > 0
    points_K = 100.0 * counts.credit_K / np.maximum(counts.videos_K, 1)
    spread = 100.0 * stats.credit_spread(counts, ~edited_K)
    error_K = np.maximum(100.0 * stats.credit_noise(counts, limits.prior_videos), spread)
    times = NormalDist().inv_cdf(1.0 - limits.alpha / max(1, int(seen_K.sum())))
    may_K = np.maximum(limits.points, times * error_K)
    fallen_K = seen_K & ~(points_K >= -may_K)
    ordered = sorted(map(int, np.flatnonzero(fallen_K)), key=lambda k: float(points_K[k] + may_K[k]))
    named = [f"{classes[k]} ({-points_K[k]:.1f} points, may lose {may_K[k]:.1f})" for k in ordered]
    figures = {
        "classes": int(seen_K.sum()),
        "fallen": int(fallen_K.sum()),
        "most_lost_points": -float(points_K[seen_K].min(initial=0.0)),
        "spread_points": spread,
    }
    sentence = (
        f"Lost partial credit: {_few(named)}."
        if named
        else f"None of {int(seen_K.sum())} classes lost more partial credit than it may."
    )
    return result("class_credit", not named, figures, {"points": limits.points, "alpha": limits.alpha}, sentence)


def _crash(counts: ByClass, classes: Sequence[str], limits: Credit) -> GateResult:
    if counts.risen_K is None or counts.crashed_K is None:
        what = "The evidence does not say by how much networks were right or wrong"
        return missing("class_crash", limits.missing, what, {})
    churn_K = stats.churn(counts.risen_K, counts.videos_K, limits.least_crashes, limits.prior_videos)
    net_K = counts.crashed_K - counts.risen_K
    fallen, most = _fallen(net_K, counts.videos_K, churn_K, limits.crash_points, limits.crash_alpha, classes)
    crashed, risen = int(counts.crashed_K.sum()), int(counts.risen_K.sum())
    figures = {"crashed": crashed, "risen": risen, "fallen": len(fallen), "most_lost_points": most}
    said = f"{crashed:,} answers went from sure and right towards sure and wrong, {risen:,} the other way"
    sentence = f"{said}; too many in {_few(fallen)}." if fallen else f"{said}; in no class more than chance explains."
    asked = {"points": limits.crash_points, "alpha": limits.crash_alpha}
    return result("class_crash", not fallen, figures, asked, sentence)


def _few(named: Sequence[str]) -> str:
    rest = len(named) - NAMED
    return "; ".join(named[:NAMED]) + (f"; and {rest} more" if rest > 0 else "")
