"""Counts against brute force, one video and one class at a time."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from pipeline.eval.metrics import Counts, Interval, bootstrap_mean, count, empty_counts, rank_of, unanimous, wilson


def brute_force(scores, labels):
    """Top-1 and top-5 by sorting each row on (-score, class), and the confusion matrix, in plain Python."""
    classes = len(scores[0])
    confusion = [[0] * classes for _ in range(classes)]
    top5 = [0] * classes
    for row, label in zip(scores, labels, strict=True):
        order = sorted(range(classes), key=lambda k, row=row: (-row[k], k))
        confusion[label][order[0]] += 1
        top5[label] += label in order[:5]
    return confusion, top5


@pytest.mark.parametrize("classes", [2, 4, 5, 6, 17])
def test_counts_equal_brute_force_with_ties(classes):
    rng = np.random.default_rng(classes)
    scores = rng.integers(0, 4, size=(200, classes)).astype(np.float32)  # few levels: most rows have ties
    labels = rng.integers(0, classes, size=200)
    counts = count(scores, labels)
    confusion, top5 = brute_force(scores.tolist(), labels.tolist())
    assert counts.confusion_KK.tolist() == confusion
    assert counts.top5_K.tolist() == top5
    assert counts.videos == 200
    assert counts.top1_hits == sum(confusion[k][k] for k in range(classes))
    if classes <= 5:
        assert counts.top5_hits == 200


def test_counting_in_parts_equals_counting_at_once():
    rng = np.random.default_rng(0)
    scores, labels = rng.normal(size=(101, 7)), rng.integers(0, 7, size=101)
    whole = count(scores, labels)
    parts = empty_counts(7)
    for piece in np.array_split(np.arange(101), 13):
        parts = parts + count(scores[piece], labels[piece])
    assert (parts.confusion_KK == whole.confusion_KK).all()
    assert (parts.top5_K == whole.top5_K).all()


def test_rank_breaks_ties_by_index():
    scores = np.array([[0.5, 0.5, 0.1], [0.5, 0.5, 0.1], [0.0, 0.0, 0.0]])
    assert rank_of(scores, np.array([0, 1, 2])).tolist() == [0, 1, 2]


def test_micro_and_mean_class_accuracy_differ_as_they_should():
    # Nine of ten right in class 0, none of two in class 1, no video of class 2.
    counts = Counts(np.array([[9, 1, 0], [2, 0, 0], [0, 0, 0]]), np.array([10, 2, 0]))
    assert counts.top1().value == 9 / 12
    assert counts.mean_class_accuracy().value == pytest.approx((0.9 + 0.0) / 2)
    interval = counts.mean_class_accuracy()
    assert interval.low <= interval.value <= interval.high
    assert interval.high <= 0.5


def test_stratified_bootstrap_equals_resampling_the_videos():
    counts = Counts(np.array([[30, 10], [6, 4]]), np.array([40, 10]))
    rng = np.random.default_rng(1)
    videos = [np.array([1.0] * 30 + [0.0] * 10), np.array([1.0] * 4 + [0.0] * 6)]
    means = [np.mean([rng.choice(v, len(v)).mean() for v in videos]) for _ in range(4000)]
    interval = counts.mean_class_accuracy(draws=4000)
    assert interval.low == pytest.approx(np.quantile(means, 0.025), abs=0.02)
    assert interval.high == pytest.approx(np.quantile(means, 0.975), abs=0.02)


def test_wilson_solves_the_score_equation():
    # The bounds are the p for which |hits/n - p| is exactly z standard errors of p.
    for hits, total in [(1, 10), (5, 10), (58, 99), (190, 722)]:
        interval = wilson(hits, total)
        for bound in (interval.low, interval.high):
            z = abs(hits / total - bound) / math.sqrt(bound * (1 - bound) / total)
            assert z == pytest.approx(1.959964, rel=1e-5)


def test_wilson_edges():
    assert wilson(0, 20).low == 0.0
    assert wilson(20, 20).high == 1.0
    assert 0.0 < wilson(0, 20).high < 0.2
    assert math.isnan(wilson(0, 0).value)
    with pytest.raises(ValueError, match="hits"):
        wilson(3, 2)


def test_bootstrap_mean_has_the_width_of_a_standard_error():
    values = np.random.default_rng(0).normal(2.0, 1.0, size=400)
    interval = bootstrap_mean(values)
    assert interval.value == values.mean()
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)
    assert bootstrap_mean(values) == interval
    assert math.isnan(bootstrap_mean(np.array([])).low)


def test_equal_values_of_a_known_range_get_an_exact_bound():
    """Clopper and Pearson, by scipy: exceptions among 30, all of them at one end."""
    most = binomtest(0, 30).proportion_ci(0.95, method="exact").high
    equal = np.full(30, 0.5)
    assert bootstrap_mean(equal) == Interval(0.5, 0.5, 0.5)
    found = bootstrap_mean(equal, within=(-2, 1))
    assert (found.value, found.low, found.high) == pytest.approx((0.5, 0.5 - 2.5 * most, 0.5 + 0.5 * most))
    assert unanimous(0.0, 480, (-1, 1)).high == pytest.approx(3.7 / 480, rel=0.01)
    mixed = np.array([0.0, 1.0, 1.0])
    assert bootstrap_mean(mixed, within=(0, 1)) == bootstrap_mean(mixed)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="NaN"):
        count(np.array([[0.0, math.nan]]), np.array([0]))
    with pytest.raises(ValueError, match=r"\[0, 2\)"):
        count(np.zeros((1, 2)), np.array([-1]))
    with pytest.raises(ValueError, match="labels"):
        count(np.zeros((1, 2)), np.array([0, 1]))
    with pytest.raises(ValueError, match="top-1 hits"):
        Counts(np.array([[1, 0], [0, 1]]), np.array([0, 1]))
