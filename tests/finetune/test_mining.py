"""Which classes are chosen, and what is kept of each clip."""

import numpy as np
import pytest

from pipeline.core.errors import UserError
from pipeline.data.config import ClipConfig
from pipeline.eval.metrics import Counts, count
from pipeline.eval.predict import PredictJob
from pipeline.eval.protocol import protocol_of
from pipeline.finetune.mining import LEAK, Rule, choose, survey


def counts_of(*pairs):
    """(right, videos) for each class; wrong ones go to the next class."""
    confusion_KK = np.zeros((len(pairs), len(pairs)), np.int64)
    for k, (right, videos) in enumerate(pairs):
        confusion_KK[k, k] = right
        confusion_KK[k, (k + 1) % len(pairs)] = videos - right
    return Counts(confusion_KK, confusion_KK.sum(axis=1))


TRAIN = counts_of((4, 10), (5, 10), (1, 10), (0, 10), (0, 4))
VALIDATION = counts_of((2, 10), (1, 10), (3, 10), (6, 10), (0, 0))


def test_a_class_is_chosen_that_is_below_half_on_both_splits():
    """Class 1 has exactly one half in training, 3 is good in validation, 4 has no validation video."""
    found = choose(TRAIN, VALIDATION, Rule())
    assert found.classes == (0, 2)
    assert found.rule == "top-1 below 50 % on the training and the validation split: 2 classes"
    assert found.leak == LEAK


def test_of_too_many_classes_the_lowest_means_are_taken():
    assert choose(TRAIN, VALIDATION, Rule(most=1)).classes == (2,)  # 0.2 against 0.3
    assert "2 classes, the 1 lowest taken" in choose(TRAIN, VALIDATION, Rule(most=1)).rule
    assert choose(TRAIN, VALIDATION, Rule(most=0, below=0.61)).classes == (0, 1, 2, 3)


def test_by_training_alone_no_validation_label_is_looked_at():
    other = counts_of((10, 10), (10, 10), (10, 10), (10, 10), (4, 4))
    found = choose(TRAIN, VALIDATION, Rule(on="train"))
    assert found == choose(TRAIN, other, Rule(on="train"))
    assert found.classes == (0, 2, 3, 4)
    assert found.leak == ""


def test_a_network_that_does_well_leaves_nothing_to_mine():
    with pytest.raises(UserError, match=r"below 5 % on the training and the validation split.*lowest 30\.0 %"):
        choose(TRAIN, VALIDATION, Rule(below=0.05))


def test_what_is_kept_of_a_clip_agrees_with_its_scores():
    clip = ClipConfig(frames=4, stride=2, size=32, short_side=32)
    job = PredictJob(checkpoint="", split="", fold=1, protocol=protocol_of(clip))
    scores = [[0.1, 0.2, 0.4, 0.05, 0.05, 0.2], [0.5, 0.1, 0.1, 0.1, 0.1, 0.1]]
    where = [([3, 5, 7, 9], [True] * 4), ([0, 2, 3, 3], [True, True, False, False])]
    rows = [
        {"id": f"v{i}", "label": label, "frames": 12, "scores": scores[i], "idx": where[i][0], "valid": where[i][1]}
        for i, label in enumerate((5, 0))
    ]
    counts, (wrong, right) = survey(rows, 6, job)
    assert counts.confusion_KK.tolist() == count(np.array(scores), np.array([5, 0])).confusion_KK.tolist()
    assert (wrong.video, wrong.label, wrong.predicted, wrong.top5) == ("v0", 5, 2, (2, 1, 5, 0, 3))
    assert wrong.top5_scores == pytest.approx((0.4, 0.2, 0.2, 0.1, 0.05))
    assert (wrong.true_rank, wrong.window) == (3, (3, 10, 2))
    assert (wrong.true_score, wrong.margin) == pytest.approx((0.2, 0.2))
    assert (right.predicted, right.true_rank, right.margin, right.window) == (0, 1, 0.0, (0, 3, 2))
