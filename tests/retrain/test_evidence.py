"""Evidence is checked when it is made, and comes back from JSON as it went."""

import json
from dataclasses import replace

import pytest

from pipeline.core.config import from_dict, to_dict
from pipeline.core.errors import UserError
from pipeline.retrain.evidence import Attention, BatchHealth, Evidence, Integrity, Scored

SCORED = Scored(
    ids=("v0", "v1"), classes=("open", "close"), label_N=(0, 1), champion_N=(True, False), candidate_N=(True, True)
)
EVIDENCE = Evidence(
    scored=SCORED,
    edited=("close",),
    attention=Attention(
        heldout_videos=0, heldout_before=None, heldout_after=None, inversion_before=31.5, inversion_after=40.6,
        spread_before=0.1, spread_after=0.2,
    ),
    health=BatchHealth(
        clips=1, kappa=None, doubled=0, flagged=0.0, levels=(0.5, 0.25, 0.25), unset=0.0, by_class={"close": 1},
        steadiness_by_class={"close": 0.9},
    ),
    integrity=Integrity(
        finite=True, extractor_identical=True, parameters_before=1, parameters_after=1, latency_before_ms=2.0,
        latency_after_ms=2.5,
    ),
)  # fmt: skip


@pytest.mark.parametrize("leads", [(), (0.25, -1.5)])
def test_evidence_comes_back_from_json(leads):
    evidence = replace(EVIDENCE, scored=replace(SCORED, champion_lead_N=leads, candidate_lead_N=leads))
    assert from_dict(Evidence, json.loads(json.dumps(to_dict(evidence)))) == evidence


def test_what_was_not_measured_may_be_left_out():
    values = to_dict(EVIDENCE)
    for key in ("steadiness", "steadiness_by_class", "blank_by_class"):
        del values["health"][key]
    for key in ("champion_lead_N", "candidate_lead_N"):
        del values["scored"][key]
    found = from_dict(Evidence, values)
    assert found.health.steadiness is None
    assert found.health.blank_by_class == {}
    assert found.scored.champion_lead_N == ()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"champion_N": (True,)}, "champion_N must have 2"),
        ({"label_N": (0, 1, 1)}, "label_N must have 2"),
        ({"ids": ("v0", "v0")}, "2 rows of 1 videos"),
        ({"label_N": (0, 2)}, r"in \[0, 2\)"),
        ({"label_N": (-1, 0)}, r"in \[0, 2\)"),
        ({"champion_lead_N": (1.0, -1.0)}, "2 and 0"),
        ({"champion_lead_N": (1.0,), "candidate_lead_N": (1.0,)}, "1 and 1"),
    ],
)
def test_scores_that_do_not_reconcile_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        replace(SCORED, **changes)


def test_edited_classes_are_scored_classes():
    with pytest.raises(ValueError, match="turn"):
        replace(EVIDENCE, edited=("close", "turn"))
    with pytest.raises(UserError, match="turn"):
        from_dict(Evidence, to_dict(EVIDENCE) | {"edited": ["turn"]})
