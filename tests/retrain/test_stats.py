"""What the gates count, against brute force, scipy and examples worked by hand."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from pipeline.retrain import stats
from pipeline.retrain.evidence import Scored


def scored(rows, classes=("a", "b", "c"), leads=()):
    """Rows of label, champion, candidate."""
    label, champion, candidate = zip(*rows, strict=True)
    ids = tuple(f"v{i}" for i in range(len(rows)))
    before, after = leads or ((), ())
    return Scored(
        ids=ids, classes=classes, label_N=label, champion_N=tuple(map(bool, champion)),
        candidate_N=tuple(map(bool, candidate)), champion_lead_N=before, candidate_lead_N=after,
    )  # fmt: skip


def test_counts_by_class():
    counts = stats.by_class(scored([(0, 1, 1), (0, 1, 0), (0, 0, 1), (2, 1, 0), (2, 1, 0), (2, 0, 0)]))
    assert counts.videos_K.tolist() == [3, 0, 3]
    assert counts.right_K.tolist() == [2, 0, 2]
    assert counts.gained_K.tolist() == [1, 0, 0]
    assert counts.lost_K.tolist() == [1, 0, 2]
    assert counts.credit_K is None
    pair = counts.together(np.array([False, False, True]))
    assert (pair.videos, pair.gained, pair.lost) == (3, 0, 2)
    everything = counts.together()
    assert (everything.videos, everything.gained, everything.lost) == (6, 1, 3)


def test_credit_by_class_by_hand():
    before, after = (2.0, -2.0, 2.0, 1.0), (2.0, -2.0, -2.0, 2.0)  # both typically 2; credit 1 0 1 .75 and 1 0 0 1
    rows = [(0, 1, 1), (0, 0, 0), (1, 1, 0), (2, 1, 1)]
    counts = stats.by_class(scored(rows, leads=(before, after)))
    assert counts.credit_K == pytest.approx([0.0, -1.0, 0.25])
    assert counts.upward_K == pytest.approx([0.0, 0.0, 0.0625])
    assert counts.crashed_K.tolist() == [0, 1, 0]
    assert counts.risen_K.tolist() == [0, 0, 0]


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (3, 9), (9, 3), (0, 14), (1200, 1301)])
def test_the_one_sided_test_is_the_binomial_one(gained, lost):
    expected = binomtest(gained, gained + lost, alternative="less").pvalue if gained + lost else 1.0
    assert stats.p_worse(gained, lost) == pytest.approx(expected, rel=1e-9)


def test_the_one_sided_test_counts_outcomes():
    outcomes = [sum(flips) for flips in itertools.product((0, 1), repeat=9)]
    assert stats.p_worse(2, 7) == pytest.approx(sum(n <= 2 for n in outcomes) / len(outcomes))


def test_holm_by_hand():
    # 4 x .01, then 3 x .02, then 2 x .04 and 1 x .03 in their order: .03 comes before .04.
    assert stats.holm([0.01, 0.04, 0.03, 0.02]) == pytest.approx([0.04, 0.06, 0.06, 0.06])
    assert stats.holm([0.5, 0.001]) == pytest.approx([0.5, 0.002])
    assert stats.holm([0.6, 0.9, 0.7]) == [1.0, 1.0, 1.0]
    assert stats.holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(0.001, 0.3))
def test_holm_is_the_step_down_procedure(p, alpha):
    rejected, left = set(), sorted(range(len(p)), key=lambda k: p[k])
    while left and p[left[0]] * len(left) <= alpha:
        rejected.add(left.pop(0))
    assert {k for k, value in enumerate(stats.holm(p)) if value <= alpha} == rejected


@pytest.mark.parametrize(("videos", "churn"), [(1, 0.1), (4, 0.25), (6, 1.0), (5, 0.0)])
def test_the_chances_of_a_net_loss_count_outcomes(videos, churn):
    weight = {-1: churn / 2, 0: 1 - churn, 1: churn / 2}
    expected = np.zeros(videos + 2)
    for moves in itertools.product((-1, 0, 1), repeat=videos):
        expected[: max(0, sum(moves) + 1)] += math.prod(weight[move] for move in moves)
    assert stats.net_loss_chances(videos, churn) == pytest.approx(expected, abs=1e-12)


CASES = [(6, 0.1, 0.01), (40, 0.1, 0.001), (300, 0.06, 1e-4), (5, 0.1, 0)]


@pytest.mark.parametrize(("videos", "churn", "alpha"), CASES)
def test_the_allowed_loss_is_the_largest_that_churn_seldom_exceeds(videos, churn, alpha):
    allowed, exceeded = stats.allowed_loss(videos, churn, alpha), stats.net_loss_chances(videos, churn)
    assert exceeded[allowed + 1] <= alpha
    assert allowed == 0 or exceeded[allowed] > alpha


def test_the_allowed_loss_is_seldom_exceeded_in_draws():
    rng = np.random.default_rng(0)
    moves = rng.choice([-1, 0, 1], p=[0.05, 0.9, 0.05], size=(20_000, 120))
    allowed = stats.allowed_loss(120, 0.1, 0.01)
    assert (moves.sum(axis=1) > allowed).mean() <= 0.0125
    assert (moves.sum(axis=1) > allowed - 1).mean() > 0.0085


def test_more_churn_allows_more():
    allowed = [stats.allowed_loss(100, churn, 0.001) for churn in (0.0, 0.02, 0.1, 0.1001, 0.3)]
    assert allowed == sorted(allowed)
    assert allowed[0] == 0
    assert allowed[3] == stats.allowed_loss(100, 0.1025, 0.001)


def test_churn_is_seen_in_gains_alone():
    videos = np.array([100, 100, 0])
    seen = stats.churn(np.array([10, 0, 0]), videos, 0.01, 100.0)
    assert seen == pytest.approx([(20 + 10) / 200, 10 / 200, 0.1])  # all: 20 of 200, worth a hundred videos
    assert stats.churn(np.zeros(3, np.int64), videos, 0.04, 100.0) == pytest.approx([0.04] * 3)


def test_leads_by_hand():
    scores = np.array([[0.7, 0.2, 0.1], [0.7, 0.2, 0.1], [0.0, 0.5, 0.5]])
    found = stats.leads(scores, np.array([0, 1, 2]))
    assert found == pytest.approx([math.log(3.5), -math.log(3.5), 0.0])
    assert np.isfinite(stats.leads(np.array([[0.0, 1.0]]), np.array([0]))).all()


def test_credit_does_not_depend_on_how_sure_a_network_is():
    lead = np.random.default_rng(0).standard_normal(501)
    share = stats.credit(lead)
    assert share == pytest.approx(stats.credit(7.5 * lead))
    assert ((share > 0.5) == (lead > 0)).all()
    assert ((share == 1) | (share == 0)).mean() == pytest.approx(0.5, abs=0.01)  # beyond the median
    assert stats.credit(np.zeros(4)) == pytest.approx([0.5] * 4)
    assert stats.credit(np.stack([lead, 2 * lead])) == pytest.approx(np.stack([share, share]))


def test_the_noise_of_credit_is_that_of_repeated_trainings():
    rng, videos = np.random.default_rng(0), np.full(50, 80)
    more = 0.2 * rng.standard_normal((50, 80))
    empty = np.zeros(50, np.int64)
    up = (np.maximum(more, 0) ** 2).sum(axis=1)
    counts = stats.ByClass(videos, empty, empty, empty, more.sum(axis=1), up)
    assert stats.credit_noise(counts, 1e6) == pytest.approx(0.2 / math.sqrt(80), rel=0.05)
    with pytest.raises(ValueError, match="needs counts with credit"):
        stats.credit_noise(stats.ByClass(videos, empty, empty, empty), 100)


def test_steadiness_by_hand():
    assert stats.steadiness([[0, 0, 1, 1]]) == pytest.approx(1 - 1 / (3 * 2 / 3))  # one change, two expected
    assert stats.steadiness([[0, 1, 0, 1]]) == pytest.approx(1 - 3 / 2)
    assert stats.steadiness([[0, None, 0, 1, None, 1]]) == stats.steadiness([[0, 0, 1, 1]])
    assert stats.steadiness([[0.5] * 9, [None, 1.0], []]) is None
    assert stats.steadiness([]) is None


@settings(max_examples=25)
@given(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=3, max_size=6).filter(lambda clip: len(set(clip)) > 1))
def test_expected_changes_are_those_of_all_orders(clip):
    orders = list(itertools.permutations(clip))
    expected = np.mean([sum(a != b for a, b in itertools.pairwise(order)) for order in orders])
    found = sum(a != b for a, b in itertools.pairwise(clip))
    assert stats.steadiness([clip]) == pytest.approx(1 - found / expected)


@pytest.mark.parametrize("shares", [(1 / 3, 1 / 3, 1 / 3), (0.7, 0.2, 0.1)])
def test_random_answers_are_not_steady_whatever_their_shares(shares):
    rng = np.random.default_rng(0)
    random = [rng.choice([0, 0.5, 1], p=shares, size=45).tolist() for _ in range(40)]
    painted = [[0.0] * 12 + [0.5] * 4 + [1.0] * 9 + [0.5] * 3 + [0.0] * 17 for _ in range(40)]
    assert abs(stats.steadiness(random)) < 0.1
    assert stats.steadiness(painted) > 0.8


def test_the_spread_of_whole_classes_is_seen_in_what_they_gained():
    rng, empty = np.random.default_rng(0), np.zeros(400, np.int64)
    mean = 0.02 * rng.standard_normal(400)
    mean[:20] += 0.5  # edited, and better for it
    counts = stats.ByClass(np.full(400, 100), empty, empty, empty, 100 * mean, empty.astype(float))
    untouched = np.arange(400) >= 20
    found = stats.credit_spread(counts, untouched)
    assert found == pytest.approx(0.02, rel=0.15)
    worse = stats.ByClass(np.full(400, 100), empty, empty, empty, 100 * (mean - 0.1 * (mean < 0)), empty.astype(float))
    assert stats.credit_spread(worse, untouched) == found  # losses do not excuse losses
    assert stats.credit_spread(counts, untouched & False) == 0.0
    with pytest.raises(ValueError, match="needs counts with credit"):
        stats.credit_spread(stats.ByClass(empty, empty, empty, empty), untouched)
