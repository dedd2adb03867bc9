"""Agreement, merged answers and draws, against sklearn and by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from pipeline.annotate.rules import SOURCES, compare, drawn, lowest, merge, pseudonym, quadratic_kappa, snapped

LEVEL = st.sampled_from([0.0, 0.5, 1.0])
PAIRS = st.lists(st.tuples(LEVEL, LEVEL), min_size=1, max_size=120)


@given(PAIRS)
def test_kappa_is_that_of_sklearn(pairs):
    a_V, b_V = np.array(pairs).T
    ours = quadratic_kappa(a_V, b_V)
    if len(set(a_V)) == len(set(b_V)) == 1 and a_V[0] == b_V[0]:
        assert ours is None
    else:
        theirs = cohen_kappa_score(2 * a_V, 2 * b_V, labels=[0, 1, 2], weights="quadratic")
        assert ours == pytest.approx(theirs, abs=1e-12)


def test_answers_agree_within_the_limit_and_without_a_contradiction():
    ours = [0.0] * 5 + [1.0] * 5
    near = [0.0] * 4 + [0.5] * 3 + [1.0] * 3
    assert compare(ours, near, 0.15).distance == pytest.approx(0.15)
    assert compare(ours, near, 0.15).agreed
    assert not compare(ours, near, 0.14).agreed
    contradiction = [1.0] + [0.0] * 4 + [1.0] * 5
    assert compare(ours, contradiction, 0.15).distance == pytest.approx(0.1)
    assert not compare(ours, contradiction, 0.15).agreed


def test_merged_answers_are_the_median_and_say_who_set_them():
    answers = [
        {"scores": [0.0, 0.5, 1.0, 0.5], "sources": ["model", "filled", "human", "model"]},
        {"scores": [0.0, 1.0, 1.0, 0.5], "sources": ["filled", "human", "model", "model"]},
    ]
    assert merge(answers) == ([0.0, 0.75, 1.0, 0.5], ["filled", "human", "human", "model"])
    assert SOURCES == ("human", "filled", "model")  # their places are in sealed batches


def test_a_curve_snaps_to_the_nearest_level():
    assert snapped([0.0, 0.2499, 0.25, 0.6, 0.7499, 0.75, 1.0]) == [0, 0, 0.5, 0.5, 0.5, 1, 1]


def test_draws_are_even_and_never_change():
    draws = np.array([drawn("heldout", str(n)) for n in range(4000)])
    assert draws.min() >= 0
    assert draws.max() < 1
    assert np.histogram(draws, 10, (0, 1))[0] == pytest.approx(400, abs=80)
    assert drawn("heldout", "7") == drawn("heldout", "7") != drawn("heldout7", "")
    # By hand: the first 16 hexadecimal digits of `printf 'heldout\\0clip' | sha256sum`, as a fraction.
    assert drawn("heldout", "clip") == 0x760A3A21C500D309 / 2**64


def test_a_share_is_exact():
    names = [str(n) for n in range(40)]
    chosen = lowest(names, 0.15, "double")
    assert len(chosen) == 6
    assert chosen == lowest(names[::-1], 0.15, "double") != lowest(names, 0.15, "other")


def test_a_pseudonym_fits_the_service():
    assert pseudonym("campaign", "a/b c.mp4", prefix="i", letters=20).isalnum()
