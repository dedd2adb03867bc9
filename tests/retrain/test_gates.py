"""Every gate has a case that only it catches; worse candidates never fare better; every figure is logged."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.config import from_dict, to_dict
from pipeline.retrain import stats
from pipeline.retrain.evidence import Attention, BatchHealth, Evidence, Integrity, Scored
from pipeline.retrain.gates import Verdict, judge, judge_attention, judge_integrity
from pipeline.retrain.gates_batch import judge_batches
from pipeline.retrain.gates_scores import judge_scores
from pipeline.retrain.policy import read_policy
from pipeline.retrain.stats import ByClass

POLICY = read_policy()
CLASSES, VIDEOS, RIGHT = 60, 200, 120
NAMES = tuple(f"class {k}" for k in range(CLASSES))
EDITED = NAMES[:10]
SURE, UNSURE = 2.0, 0.05
ATTENTION = Attention(
    heldout_videos=20, heldout_before=0.2, heldout_after=0.1, inversion_before=31.5, inversion_after=40.6,
    spread_before=0.2, spread_after=0.21,
)  # fmt: skip
HEALTH = BatchHealth(
    clips=200, kappa=0.7, doubled=30, flagged=0.05, levels=(0.55, 0.2, 0.25), unset=0.0,
    by_class=dict.fromkeys(EDITED, 20), steadiness=0.8, steadiness_by_class=dict.fromkeys(EDITED, 0.8),
    blank_by_class=dict.fromkeys(EDITED, 1),
)  # fmt: skip
INTEGRITY = Integrity(
    finite=True, extractor_identical=True, parameters_before=55_665_928, parameters_after=55_665_928,
    latency_before_ms=100.0, latency_after_ms=104.0,
)  # fmt: skip
GAIN = dict.fromkeys(range(10), (22, 8))
"""Gained and lost videos of the edited classes; all others gain and lose ten."""
GATES = {
    "overall", "edited", "edited_better", "untouched", "classes", "class_floor", "class_credit", "class_crash",
    "heldout_edits", "heldout_nearer", "inversion", "spread", "batch_clips", "batch_agreement", "batch_flags",
    "batch_levels", "batch_steadiness", "batch_erased", "finite", "extractor", "size", "latency",
}  # fmt: skip


def scores(moves=None, leads=None, sizes=None, usual=(10, 10)):
    """A list in which every class has the same share right, and gains and loses as `moves` says.

    Leads are those of sure answers, except that videos gained and lost are close calls for both networks. `leads` maps
    a class to how many of its steadily right videos get which lead from the candidate.
    """
    moves, sizes = {**GAIN, **(moves or {})}, sizes or {}
    label, champion, candidate, before, after = [], [], [], [], []
    for k in range(CLASSES):
        videos = sizes.get(k, VIDEOS)
        right, (gained, lost) = videos * RIGHT // VIDEOS, moves.get(k, usual)
        answers = [(1, 0)] * lost + [(1, 1)] * (right - lost) + [(0, 1)] * gained + [(0, 0)] * (videos - right - gained)
        changed = (leads or {}).get(k, (0, SURE))
        for i, (a, b) in enumerate(answers):
            close, special = a != b, lost <= i < lost + changed[0]
            before.append((1 if a else -1) * (UNSURE if close else SURE))
            after.append(changed[1] if special else (1 if b else -1) * (UNSURE if close else SURE))
            label.append(k)
            champion.append(bool(a))
            candidate.append(after[-1] > 0)
    ids = tuple(f"v{i}" for i in range(len(label)))
    return Scored(
        ids=ids, classes=NAMES, label_N=tuple(label), champion_N=tuple(champion), candidate_N=tuple(candidate),
        champion_lead_N=tuple(before), candidate_lead_N=tuple(after),
    )  # fmt: skip


def evidence(scored=None, attention=ATTENTION, health=HEALTH, integrity=INTEGRITY, edited=EDITED):
    return Evidence(
        scored=scored or scores(), edited=edited, attention=attention, health=health, integrity=integrity
    )  # fmt: skip


def failed(verdict):
    return [r.gate for r in verdict.results if not r.passed]


def test_a_good_candidate_is_promoted():
    verdict = judge(evidence(), POLICY)
    assert {r.gate for r in verdict.results} == GATES
    assert len(verdict.results) == len(GATES)
    assert failed(verdict) == []
    assert all(r.judged for r in verdict.results)
    assert verdict.outcome == "promote"
    assert verdict.policy == POLICY.id


SCORES = {
    # Gates over all videos, ten edited classes or fifty others see losses that no class shows by itself.
    "overall": scores(dict.fromkeys(range(10), (10, 14)) | dict.fromkeys(range(10, 50), (9, 11))),
    "edited": scores(dict.fromkeys(range(10), (8, 13))),
    "untouched": scores(dict.fromkeys(range(10), (30, 8)), usual=(9, 11)),
    # Sure but small for its size; large but not sure by itself; surer or less sure with the same videos right.
    "classes": scores({59: (0, 30)}, sizes={59: 800}),
    "class_floor": scores({59: (6, 20)}, sizes={59: 100}),
    "class_credit": scores(leads={59: (110, 0.8)}),
    "class_crash": scores(leads={59: (7, -1.9)}),
}
OTHERS = {
    "heldout_edits": {"attention": replace(ATTENTION, heldout_after=0.31)},
    "heldout_nearer": {"attention": replace(ATTENTION, heldout_after=0.2)},
    "inversion": {"attention": replace(ATTENTION, inversion_after=29.4)},
    "spread": {"attention": replace(ATTENTION, spread_after=0.09)},
    "batch_clips": {"health": replace(HEALTH, clips=19)},
    "batch_agreement": {"health": replace(HEALTH, kappa=0.1)},
    "batch_flags": {"health": replace(HEALTH, flagged=0.4)},
    "batch_levels": {"health": replace(HEALTH, levels=(0.97, 0.02, 0.01))},
    "batch_steadiness": {"health": replace(HEALTH, steadiness=0.02)},
    "batch_erased": {"health": replace(HEALTH, blank_by_class={EDITED[3]: 20})},
    "finite": {"integrity": replace(INTEGRITY, finite=False)},
    "extractor": {"integrity": replace(INTEGRITY, extractor_identical=False)},
    "size": {"integrity": replace(INTEGRITY, parameters_after=55_665_929)},
    "latency": {"integrity": replace(INTEGRITY, latency_after_ms=126.0)},
}


@pytest.mark.parametrize("gate", SCORES)
def test_a_loss_that_only_one_gate_sees(gate):
    verdict = judge(evidence(SCORES[gate]), POLICY)
    harmed = [r.gate for r in verdict.results if not r.passed and r.kind == "harm"]
    assert harmed == [gate]
    assert verdict.outcome == "refuse"
    assert f"refused by {gate}" in verdict.sentence


@pytest.mark.parametrize("gate", OTHERS)
def test_what_only_one_gate_sees(gate):
    verdict = judge(evidence(**OTHERS[gate]), POLICY)
    assert failed(verdict) == ["heldout_edits", "heldout_nearer"] if gate == "heldout_edits" else [gate]
    assert verdict.outcome == ("keep" if gate == "heldout_nearer" else "refuse")


def test_without_benefit_the_champion_stays_and_nobody_is_alarmed():
    verdict = judge(evidence(scores(dict.fromkeys(range(10), (10, 10)))), POLICY)
    assert failed(verdict) == ["edited_better"]
    assert not verdict.passed
    assert verdict.outcome == "keep"
    assert "shows no benefit (edited_better)" in verdict.sentence
    assert "no benefit" in verdict.table()


@pytest.mark.parametrize(
    ("changes", "gate"),
    [
        ({"levels": (1 / 3, 1 / 3, 1 / 3)}, "batch_levels"),
        ({"levels": (0.34, 0.33, 0.33)}, "batch_levels"),
        ({"unset": 0.6}, "batch_levels"),
        ({"steadiness_by_class": {EDITED[2]: 0.05}}, "batch_steadiness"),
        ({"blank_by_class": {EDITED[2]: 11}}, "batch_erased"),
        ({"by_class": {**HEALTH.by_class, EDITED[2]: 0}}, "batch_erased"),
        ({"kappa": float("nan")}, "batch_agreement"),
        ({"flagged": float("nan")}, "batch_flags"),
    ],
)
def test_batches_that_no_person_made(changes, gate):
    verdict = judge(evidence(health=replace(HEALTH, **changes)), POLICY)
    assert failed(verdict) == [gate]


def test_classes_with_few_clips_are_not_judged_by_themselves():
    few = {**HEALTH.by_class, "class 11": 4}
    health = replace(HEALTH, by_class=few, steadiness_by_class={"class 11": 0.0}, blank_by_class={"class 11": 4})
    assert failed(judge(evidence(health=health), POLICY)) == []


NOTHING = {
    "untouched": {"edited": NAMES},
    "class_credit": {"scored": replace(scores(), champion_lead_N=(), candidate_lead_N=())},
    "class_crash": {"scored": replace(scores(), champion_lead_N=(), candidate_lead_N=())},
    "heldout_edits": {"attention": replace(ATTENTION, heldout_videos=9)},
    "heldout_nearer": {"attention": replace(ATTENTION, heldout_before=None, heldout_after=None)},
    "batch_agreement": {"health": replace(HEALTH, kappa=None, doubled=0)},
    "batch_steadiness": {"health": replace(HEALTH, steadiness=None)},
    "edited": {"edited": ()},
    "edited_better": {"edited": ()},
}
MISSING = {
    "untouched": "untouched", "class_credit": "credit", "class_crash": "credit", "heldout_edits": "attention",
    "heldout_nearer": "attention", "batch_agreement": "batch", "batch_steadiness": "batch", "edited": "edited",
    "edited_better": "edited_better",
}  # fmt: skip


@pytest.mark.parametrize("gate", NOTHING)
@pytest.mark.parametrize("says", ["refuse", "not judged"])
def test_missing_evidence_is_never_a_silent_pass(gate, says):
    section = getattr(POLICY, MISSING[gate])
    key = {"heldout_edits": "heldout_missing", "heldout_nearer": "heldout_missing"}.get(gate, "missing")
    key = {"batch_agreement": "doubled_missing", "batch_steadiness": "steadiness_missing"}.get(gate, key)
    policy = replace(POLICY, **{MISSING[gate]: replace(section, **{key: says})})
    if gate == "untouched":  # all classes edited: enough gain in all of them
        NOTHING[gate]["scored"] = scores(dict.fromkeys(range(CLASSES), (22, 8)))
    verdict = judge(evidence(**NOTHING[gate]), policy)
    (found,) = [r for r in verdict.results if r.gate == gate]
    assert not found.judged
    assert found.passed == (says == "not judged")
    assert ("MISSING" if says == "refuse" else "not judged") in verdict.table()
    if says == "refuse":
        assert verdict.outcome == "refuse"
    else:
        assert gate in verdict.sentence.split("Not judged: ")[1]


def test_verdicts_come_back_from_json_and_hold_finite_numbers():
    bad = replace(ATTENTION, heldout_before=float("nan"), spread_after=float("nan"), inversion_after=float("inf"))
    verdict = judge(evidence(attention=bad), POLICY)
    assert failed(verdict) == ["heldout_edits", "heldout_nearer", "inversion", "spread"]
    text = json.dumps(to_dict(verdict), allow_nan=False)
    assert from_dict(Verdict, json.loads(text)) == verdict


def test_every_figure_and_limit_is_in_the_table():
    verdict = judge(evidence(SCORES["class_floor"]), POLICY)
    table = verdict.table()
    for r in verdict.results:
        assert r.sentence in table
        assert r.figures
        assert r.limits
        assert all(f"{name} {value:.4g}" in table for name, value in (*r.figures.items(), *r.limits.items()))
    assert "class 59 (14.0 points of 100 videos, may lose" in table
    assert POLICY.id in table


def test_a_candidate_without_answers_is_refused():
    scored = scores()
    silent = replace(scored, candidate_N=(False,) * len(scored.ids), champion_lead_N=(), candidate_lead_N=())
    verdict = judge(evidence(silent), POLICY)
    assert {"overall", "edited", "untouched", "classes", "class_floor"} <= set(failed(verdict))


def test_an_empty_list_is_refused():
    nothing = Scored(ids=(), classes=NAMES, label_N=(), champion_N=(), candidate_N=())
    verdict = judge(evidence(nothing), POLICY)
    assert verdict.outcome == "refuse"
    assert "overall" in failed(verdict)


def test_what_churn_takes_from_small_classes_is_no_loss():
    (small,) = [
        r for r in judge(evidence(scores({59: (2, 5)}, sizes={59: 20})), POLICY).results if r.gate == "class_floor"
    ]
    assert small.passed
    assert small.figures["most_lost_points"] == pytest.approx(15.0)
    assert failed(judge(evidence(scores({59: (0, 12)}, sizes={59: 20})), POLICY)) == ["class_floor"]


def test_credit_of_a_class_may_move_as_far_as_others_have_gained():
    leads = {59: (110, 0.8)}
    assert failed(judge(evidence(scores(leads=leads)), POLICY)) == ["class_credit"]
    scored = scores(leads=leads)
    counts = stats.by_class(scored)
    assert counts.credit_K is not None
    edited_K = np.arange(CLASSES) < len(EDITED)
    gained = replace(counts, credit_K=counts.credit_K + 0.05 * counts.videos_K * (np.arange(CLASSES) % 3 == 0))
    (found,) = [r for r in judge_scores(gained, NAMES, edited_K, POLICY) if r.gate == "class_credit"]
    assert found.passed
    assert found.figures["spread_points"] == pytest.approx(5.0, abs=0.1)


def test_many_classes_are_named_in_part():
    verdict = judge(evidence(scores(dict.fromkeys(range(20, 27), (0, 60)))), POLICY)
    (floor,) = [r for r in verdict.results if r.gate == "class_floor"]
    assert floor.figures["fallen"] == 7
    assert "and 4 more" in floor.sentence


@st.composite
def compared(draw):
    """Counts of four classes, one step of the candidate to the worse, and which classes were edited."""
    videos = np.array(draw(st.lists(st.integers(2, 150), min_size=4, max_size=4)))
    share = st.floats(0, 1)
    right = np.array([int(n * draw(share)) for n in videos])
    lost = np.array([int(n * draw(share) * 0.6) for n in right])
    gained = np.array([int(n * draw(share) * 0.3) for n in videos - right])
    crashed = np.array([int(n * draw(share) * 0.3) for n in videos])
    risen = np.array([int(n * draw(share) * 0.1) for n in videos])
    upward = np.array([n * draw(st.floats(0, 0.1)) for n in videos])
    credit = np.array([n * draw(st.floats(-0.4, 0.2)) for n in videos])
    counts = ByClass(videos, right, gained, lost, credit, upward, risen, crashed)
    k = draw(st.integers(0, 3))
    one = np.eye(4, dtype=np.int64)[k]
    worse = []
    if lost[k] < right[k]:
        worse.append(replace(counts, lost_K=lost + one))
    if gained[k]:
        worse.append(replace(counts, gained_K=gained - one))
    if risen[k]:
        worse.append(replace(counts, risen_K=risen - one))
    if crashed[k] + risen[k] < videos[k]:
        worse.append(replace(counts, crashed_K=crashed + one))
    worse.append(replace(counts, credit_K=credit - draw(st.floats(0, 30)) * one))
    worse.append(replace(counts, upward_K=upward * (1 - draw(share) * one)))
    return counts, draw(st.sampled_from(worse)), np.array(draw(st.lists(st.booleans(), min_size=4, max_size=4)))


@settings(max_examples=150, deadline=None)
@given(compared())
def test_a_worse_candidate_never_passes_a_gate_that_refused(case):
    counts, worse, edited = case
    before = judge_scores(counts, NAMES[:4], edited, POLICY)
    after = judge_scores(worse, NAMES[:4], edited, POLICY)
    for old, new in zip(before, after, strict=True):
        assert old.passed or not new.passed, (old.sentence, new.sentence)


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_worse_attention_batches_and_files_never_pass_a_gate_that_refused(data):
    share = st.floats(0, 1)
    attention = replace(ATTENTION, heldout_after=data.draw(share), inversion_after=60 * data.draw(share),
                        spread_after=0.4 * data.draw(share))  # fmt: skip
    health = replace(HEALTH, kappa=data.draw(share), flagged=data.draw(share), unset=data.draw(share),
                     steadiness=data.draw(share), clips=data.draw(st.integers(0, 60)))  # fmt: skip
    integrity = replace(INTEGRITY, latency_after_ms=90 + 60 * data.draw(share))
    step = data.draw(share)
    attention_too = replace(attention, heldout_after=attention.heldout_after + step,
                            inversion_after=attention.inversion_after - 20 * step,
                            spread_after=attention.spread_after * (1 - step))  # fmt: skip
    health_too = replace(health, kappa=health.kappa - step, flagged=health.flagged + step, unset=health.unset + step,
                         steadiness=health.steadiness - step, clips=int(health.clips * (1 - step)))  # fmt: skip
    integrity_too = replace(integrity, latency_after_ms=integrity.latency_after_ms + 50 * step)
    before = (*judge_attention(attention, POLICY.attention), *judge_batches(health, POLICY.batch),
              *judge_integrity(integrity, POLICY.integrity))  # fmt: skip
    after = (*judge_attention(attention_too, POLICY.attention), *judge_batches(health_too, POLICY.batch),
             *judge_integrity(integrity_too, POLICY.integrity))  # fmt: skip
    for old, new in zip(before, after, strict=True):
        assert old.passed or not new.passed
