"""Paired comparisons and means of folds, against brute force and published values."""

from itertools import product

import numpy as np
import pytest
from scipy.stats import binomtest

from pipeline.eval.compare import Paired, mean_of_folds, paired
from pipeline.eval.metrics import wilson


def test_who_gained_and_who_lost():
    first, second = np.array([1, 1, 0, 0, 1], bool), np.array([1, 0, 1, 1, 1], bool)
    assert paired(first, second) == Paired(5, 2, 1)
    assert paired(second, first) == Paired(5, 1, 2)
    assert paired(first, second).difference().value == pytest.approx(second.mean() - first.mean())
    with pytest.raises(ValueError, match="the same videos"):
        paired(first, second[:3])


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (1, 0), (5, 5), (9, 2), (0, 12), (40, 25), (700, 500)])
def test_the_p_value_is_that_of_a_fair_coin(gained, lost):
    found = Paired(2000, gained, lost).p_value()
    expected = binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    assert found == pytest.approx(expected, rel=1e-9)
    worse = binomtest(gained, gained + lost, alternative="less").pvalue if gained + lost else 1.0
    assert Paired(2000, gained, lost).p_worse() == pytest.approx(worse, rel=1e-9)


@pytest.mark.parametrize(("gained", "lost", "p"), [(0, 0, 1.0), (5, 0, 2 / 32), (3, 3, 1.0), (6, 1, 16 / 128)])
def test_the_p_value_by_hand_and_either_way_round(gained, lost, p):
    assert Paired(20, gained, lost).p_value() == Paired(20, lost, gained).p_value() == pytest.approx(p)


def test_the_p_value_counts_outcomes():
    outcomes = [sum(flips) for flips in product((0, 1), repeat=8)]
    at_least_as_uneven = [n for n in outcomes if min(n, 8 - n) <= 1]
    assert Paired(100, 7, 1).p_value() == pytest.approx(len(at_least_as_uneven) / len(outcomes))


def test_thousands_of_videos_do_not_overflow():
    assert 0 <= Paired(20_000, 9_000, 3_000).p_value() < 1e-300
    assert Paired(20_000, 5_000, 5_000).p_value() == 1.0


def test_the_interval_of_a_difference_is_that_of_its_normal_approximation():
    pair = Paired(400, 40, 20)
    found = pair.difference()
    spread = np.sqrt((60 / 400 - (20 / 400) ** 2) / 400)
    assert found.value == 0.05
    assert found.low == pytest.approx(0.05 - 1.96 * spread, abs=0.004)
    assert found.high == pytest.approx(0.05 + 1.96 * spread, abs=0.004)
    assert np.isnan(Paired(0, 0, 0).difference().value)


@pytest.mark.parametrize("videos", [1, 5, 480])
def test_where_no_video_differs_the_difference_is_not_known_exactly(videos):
    """Clopper and Pearson, by scipy: so many videos may differ, and all of them in the same direction."""
    most = binomtest(0, videos).proportion_ci(0.95, method="exact").high
    for gained, lost in ((0, 0), (videos, 0), (0, videos)):
        value, found = (gained - lost) / videos, Paired(videos, gained, lost).difference()
        assert found.value == value
        assert found.low == pytest.approx(max(-1, value - most * (value + 1)))
        assert found.high == pytest.approx(min(1, value + most * (1 - value)))
    assert Paired(480, 0, 0).difference().high == pytest.approx(3.7 / 480, rel=0.01)
    assert Paired(5, 5, 0).difference().low < 0  # as McNemar says: p = .06


def test_in_rare_changes_the_exact_bound_covers_what_a_bootstrap_misses():
    """One in 500 videos changes; 200 are seen, and in two of three draws none of those."""
    rng, truth = np.random.default_rng(0), 1 / 500
    found = [Paired(200, int(rng.binomial(200, truth)), 0).difference() for _ in range(200)]
    assert np.mean([one.low <= truth <= one.high for one in found]) > 0.9


def fold(start, stop, rate, seed):
    rng = np.random.default_rng(seed)
    return {f"v{i}": bool(rng.random() < rate) for i in range(start, stop)}


def test_a_mean_of_folds_is_the_mean_of_their_accuracies():
    folds = [fold(0, 100, 0.5, 0), fold(100, 300, 0.7, 1), fold(300, 350, 0.9, 2)]
    expected = np.mean([np.mean(list(one.values())) for one in folds])
    found = mean_of_folds(folds)
    assert found.value == pytest.approx(expected)
    assert found.low < expected < found.high


def test_folds_that_share_their_videos_are_not_three_times_the_evidence():
    one = fold(0, 200, 0.6, 3)
    alone, same = mean_of_folds([one]), mean_of_folds([one, one, one])
    assert same.high - same.low == pytest.approx(alone.high - alone.low, abs=1e-9)
    expected = wilson(sum(one.values()), 200)
    assert alone.high - alone.low == pytest.approx(expected.high - expected.low, rel=0.1)
    others = mean_of_folds([one, fold(200, 400, 0.6, 4), fold(400, 600, 0.6, 5)])
    assert others.high - others.low < 0.7 * (same.high - same.low)


def test_a_mean_of_nothing_is_refused():
    with pytest.raises(ValueError, match="folds with videos"):
        mean_of_folds([])
    with pytest.raises(ValueError, match="folds with videos"):
        mean_of_folds([{"a": True}, {}])
