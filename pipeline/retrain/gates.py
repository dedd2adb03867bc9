"""Evidence and limits to a verdict: promote, keep the champion, or refuse. Pure: nothing is read, nothing is moved.

Gates against *harm* refuse a candidate that is shown to be worse, whose training data or attention are not in order, or
that is not the network it should be. Gates of *benefit* ask whether it is shown to be better: without that the champion
stays, which is no alarm, and the batches go into the next plan with those that follow.
"""

import numpy as np

from pipeline.retrain import stats
from pipeline.retrain.evidence import Attention, Evidence, Integrity
from pipeline.retrain.gates_batch import judge_batches
from pipeline.retrain.gates_scores import judge_scores
from pipeline.retrain.policy import AttentionLimits, IntegrityLimits, Policy
from pipeline.retrain.verdict import GateResult, Verdict, missing, result

__all__ = ["GateResult", "Verdict", "judge"]


def judge(evidence: Evidence, policy: Policy) -> Verdict:
    """Judge a candidate; every gate is asked, also after one has refused.

    Args:
        evidence: what was found.
        policy: the limits.
    """
    scored = evidence.scored
    edited_K = np.isin(np.array(scored.classes), np.array(evidence.edited, dtype=str))
    results = (
        *judge_scores(stats.by_class(scored), scored.classes, edited_K, policy),
        *judge_attention(evidence.attention, policy.attention),
        *judge_batches(evidence.health, policy.batch),
        *judge_integrity(evidence.integrity, policy.integrity),
    )
    return Verdict(passed=all(r.passed for r in results), policy=policy.id, results=results)


def judge_attention(attention: Attention, limits: AttentionLimits) -> list[GateResult]:
    """Judge what a candidate attends to."""
    return [
        *_heldout(attention, limits),
        _inversion(attention, limits),
        _spread(attention, limits),
    ]


def _heldout(attention: Attention, limits: AttentionLimits) -> list[GateResult]:
    videos, before, after = attention.heldout_videos, attention.heldout_before, attention.heldout_after
    if before is None or after is None or videos < limits.heldout_videos:
        what = f"{videos} videos with held-out edits, {limits.heldout_videos} are enough to judge attention by them"
        figures = {"videos": float(videos)}
        return [
            missing("heldout_edits", limits.heldout_missing, what, figures),
            missing("heldout_nearer", limits.heldout_missing, what, figures, "benefit"),
        ]
    figures = {"videos": float(videos), "before": before, "after": after}
    may = before * (1.0 + limits.heldout_rise)
    said = f"The squared difference to held-out edits of {videos} videos went from {before:.4f} to {after:.4f}"
    rose = after <= may
    return [
        result(
            "heldout_edits",
            rose,
            figures,
            {"after": may},
            f"{said}: {'no further from people than allowed' if rose else 'attention moved away from people'}.",
        ),
        result(
            "heldout_nearer",
            after < before,
            figures,
            {"after": before},
            f"{said}: attention {'moved' if after < before else 'did not move'} towards people.",
            "benefit",
        ),
    ]


def _inversion(attention: Attention, limits: AttentionLimits) -> GateResult:
    before, after = attention.inversion_before, attention.inversion_after
    least = before - limits.inversion_points
    sentence = f"Inverting both attentions costs {after:.1f} points of top-1, and cost {before:.1f} before."
    figures, asked = {"before": before, "after": after}, {"after": least}
    return result("inversion", after >= least, figures, asked, sentence)


def _spread(attention: Attention, limits: AttentionLimits) -> GateResult:
    before, after = attention.spread_before, attention.spread_after
    least = max(limits.spread, limits.spread_share * before)
    sentence = f"Temporal attention varies over frames by {after:.4f}, and varied by {before:.4f} before" + (
        "." if after >= least else ": it has collapsed."
    )
    return result("spread", after >= least, {"before": before, "after": after}, {"after": least}, sentence)


def judge_integrity(integrity: Integrity, limits: IntegrityLimits) -> list[GateResult]:
    """Judge what a candidate is as a file and as a program."""
    return [_finite(integrity), _extractor(integrity), _size(integrity, limits), _latency(integrity, limits)]


def _finite(integrity: Integrity) -> GateResult:
    sentence = (
        "All weights and steps were finite." if integrity.finite else "A weight or a step was not a finite number."
    )
    return result("finite", integrity.finite, {"finite": integrity.finite}, {"finite": True}, sentence)


def _extractor(integrity: Integrity) -> GateResult:
    same = integrity.extractor_identical
    sentence = f"The extractor is {'that of the base to the bit' if same else 'not that of the base, though frozen'}."
    return result("extractor", same, {"identical": same}, {"identical": True}, sentence)


def _size(integrity: Integrity, limits: IntegrityLimits) -> GateResult:
    before, after = integrity.parameters_before, integrity.parameters_after
    least, most = before / limits.parameters_ratio, before * limits.parameters_ratio
    sentence = f"The candidate has {after:,} parameters, the champion {before:,}."
    figures = {"before": before, "after": after}
    return result("size", least <= after <= most, figures, {"least": least, "most": most}, sentence)


def _latency(integrity: Integrity, limits: IntegrityLimits) -> GateResult:
    before, after = integrity.latency_before_ms, integrity.latency_after_ms
    most = before * limits.latency_ratio
    sentence = f"A clip takes {after:.1f} ms, and took the champion {before:.1f} ms."
    return result(
        "latency", 0.0 < after <= most, {"before_ms": before, "after_ms": after}, {"after_ms": most}, sentence
    )
