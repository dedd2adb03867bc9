"""The gates over a plan's new batches: do they look like the work of people who agree?"""

from pipeline.retrain.evidence import BatchHealth
from pipeline.retrain.policy import BatchLimits
from pipeline.retrain.verdict import GateResult, missing, result


def judge_batches(health: BatchHealth, limits: BatchLimits) -> list[GateResult]:
    """Judge new batches."""
    return [
        _clips(health, limits),
        _agreement(health, limits),
        _flags(health, limits),
        _levels(health, limits),
        _steadiness(health, limits),
        _erased(health, limits),
    ]


def _clips(health: BatchHealth, limits: BatchLimits) -> GateResult:
    sentence = f"The new batches hold {health.clips} clips, {limits.clips} are asked for."
    passed = health.clips >= limits.clips
    return result("batch_clips", passed, {"clips": health.clips}, {"clips": limits.clips}, sentence)


def _agreement(health: BatchHealth, limits: BatchLimits) -> GateResult:
    gate, figures = "batch_agreement", {"doubled": float(health.doubled)}
    if health.kappa is None or health.doubled < limits.doubled:
        what = f"{health.doubled} clips were answered by two people, {limits.doubled} are enough to judge agreement"
        return missing(gate, limits.doubled_missing, what, figures)
    sentence = f"People who answered the same {health.doubled} clips agree with a mean kappa of {health.kappa:.2f}."
    asked = {"kappa": limits.kappa, "doubled": limits.doubled}
    return result(gate, health.kappa >= limits.kappa, {**figures, "kappa": health.kappa}, asked, sentence)


def _flags(health: BatchHealth, limits: BatchLimits) -> GateResult:
    sentence = f"People would not judge {100 * health.flagged:.1f} % of the clips."
    passed = health.flagged <= limits.flagged
    return result("batch_flags", passed, {"flagged": health.flagged}, {"flagged": limits.flagged}, sentence)


def _levels(health: BatchHealth, limits: BatchLimits) -> GateResult:
    shares = " / ".join(f"{100 * share:.0f}" for share in health.levels)
    highest, distance = max(health.levels), sum(abs(share - 1 / 3) for share in health.levels)
    figures = {"none": health.levels[0], "half": health.levels[1], "full": health.levels[2]}
    figures |= {"distance": distance, "unset": health.unset}
    reasons = [
        *(["almost all the same"] if highest > limits.level else []),
        *(["as even as if drawn at random"] if distance < limits.distance else []),
        *([f"{100 * health.unset:.0f} % of the frames unset"] if health.unset > limits.unset else []),
    ]
    said = ", ".join(reasons) or "as people answer"
    sentence = f"Of the set frames, {shares} % are at 0, 0.5 and 1: {said}."
    asked = {"level": limits.level, "distance": limits.distance, "unset": limits.unset}
    passed = highest <= limits.level and distance >= limits.distance and health.unset <= limits.unset
    return result("batch_levels", passed, figures, asked, sentence)


def _steadiness(health: BatchHealth, limits: BatchLimits) -> GateResult:
    gate = "batch_steadiness"
    if health.steadiness is None:
        return missing(gate, limits.steadiness_missing, "No clip shows whether its levels come in runs", {})
    large = {name for name, clips in health.by_class.items() if clips >= limits.class_clips}
    of_large = {name: value for name, value in health.steadiness_by_class.items() if name in large}
    ragged = sorted((value, name) for name, value in of_large.items() if not value >= limits.steadiness)
    figures = {"steadiness": health.steadiness, "least_of_a_class": min(of_large.values(), default=health.steadiness)}
    named = ", ".join(f"{name} ({value:.2f})" for value, name in ragged)
    sentence = f"Levels come in runs (steadiness {health.steadiness:.2f}; 1 never changes, 0 is random order)" + (
        f", but not in {named}." if named else "."
    )
    passed = health.steadiness >= limits.steadiness and not ragged
    asked = {"steadiness": limits.steadiness, "class_clips": limits.class_clips}
    return result(gate, passed, figures, asked, sentence)


def _erased(health: BatchHealth, limits: BatchLimits) -> GateResult:
    share = {
        name: health.blank_by_class.get(name, 0) / clips
        for name, clips in health.by_class.items()
        if clips >= limits.class_clips
    }
    erased = sorted(name for name, blank in share.items() if not blank <= limits.blank)
    erased += sorted(name for name, clips in health.by_class.items() if clips == 0)
    figures: dict[str, float] = {"classes": len(health.by_class), "judged": len(share), "erased": len(erased)}
    figures["most_blank"] = max(share.values(), default=0.0)
    sentence = (
        f"Nothing is marked in most clips of {', '.join(erased)}."
        if erased
        else f"In each of {len(share)} classes with {limits.class_clips} clips or more, most clips have marked frames."
    )
    asked = {"blank": limits.blank, "class_clips": limits.class_clips}
    return result("batch_erased", not erased, figures, asked, sentence)
