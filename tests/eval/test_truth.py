"""Agreement with known truth, against pair counting and by direction."""

import itertools

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core.errors import UserError
from pipeline.eval.truth import auc, compare, read_truth

FRAMES = 12


def clips(sign, count=30, seed=0):
    """Predictions whose attention is `sign` * 0.3 higher on frames 4 to 7, and the truth that says so."""
    rng = np.random.default_rng(seed)
    active = np.isin(np.arange(FRAMES), (4, 5, 6, 7))
    truth = {str(i): active for i in range(count)}
    rows = []
    for i in range(count):
        start = i % 4  # the clip begins at different frames of its video
        idx = np.arange(start, start + 8)
        attention = 0.5 + sign * 0.3 * active[idx] + rng.normal(0, 0.05, 8)
        rows.append({"id": str(i), "idx": idx, "valid": [True] * 8, "temporal": attention})
    return rows, truth


def test_auc_is_the_share_of_won_pairs():
    rng = np.random.default_rng(1)
    attention, active = rng.integers(0, 5, 40) / 5, rng.random(40) < 0.4
    pairs = list(itertools.product(attention[active], attention[~active]))
    assert auc(attention, active) == pytest.approx(sum((a > b) + 0.5 * (a == b) for a, b in pairs) / len(pairs))


@pytest.mark.parametrize(("sign", "word"), [(1, "higher"), (-1, "lower")])
def test_the_direction_is_stated_as_measured(sign, word):
    agreement = compare(*clips(sign))
    assert agreement.difference.value == pytest.approx(sign * 0.3, abs=0.02)
    assert agreement.difference.low <= agreement.difference.value <= agreement.difference.high
    assert (agreement.auc.value > 0.95) if sign > 0 else (agreement.auc.value < 0.05)
    assert f"is {word} on active frames" in agreement.sentence()
    assert (agreement.clips, agreement.left_out) == (30, 0)


def test_attention_without_relation_is_called_that():
    agreement = compare(*clips(0))
    assert agreement.difference.low < 0 < agreement.difference.high
    assert "not measurably different" in agreement.sentence()


def test_padding_does_not_count_and_one_sided_clips_are_left_out():
    truth = {"a": np.array([True, True, False, False]), "b": np.array([True] * 4)}
    valid = [True, True, True, True, False, False]
    idx = [0, 1, 2, 3, 3, 3]
    attention = [0.8, 0.6, 0.2, 0.4, 1.0, 1.0]
    rows = [{"id": i, "idx": idx, "valid": valid, "temporal": attention} for i in "ab"]
    agreement = compare(rows, truth)
    assert agreement.difference.value == pytest.approx(0.7 - 0.3)
    assert (agreement.clips, agreement.left_out) == (1, 1)
    assert "no clip has both" in compare(rows[1:], truth).sentence()


def test_a_truth_that_does_not_fit_is_refused():
    row = {"id": "a", "idx": [0, 5], "valid": [True, True], "temporal": [0.1, 0.2]}
    with pytest.raises(UserError, match="no entry"):
        compare([row], {})
    with pytest.raises(UserError, match="at least 6 frames"):
        compare([row], {"a": np.array([True] * 5)})


def test_reading_a_truth_file(tmp_path):
    path = tmp_path / "truth.parquet"
    pq.write_table(pa.table({"id": ["x", "y"], "active": [[True, False], [False]]}), path)
    truth = read_truth(str(path))
    assert truth["x"].tolist() == [True, False]
    assert truth["y"].tolist() == [False]
    with pytest.raises(UserError, match="no truth file"):
        read_truth(str(tmp_path / "absent.parquet"))
    pq.write_table(pa.table({"id": ["x"]}), path)
    with pytest.raises(UserError, match="another kind"):
        read_truth(str(path))
