import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.flow.quantise import decode, encode


def dense_flow(value, bound):
    """The published formula, one value at a time; Python rounds halves to even as cvRound does."""
    if value > bound:
        return 255
    if value < -bound:
        return 0
    return round(255 * (value + bound) / (2 * bound))


@pytest.mark.parametrize(("pixels", "level"), [(0, 128), (20, 255), (-20, 0), (1e9, 255), (-np.inf, 0), (np.inf, 255)])
def test_the_anchors(pixels, level):
    assert encode(np.float32([pixels])).tolist() == [level]


def test_halves_go_to_the_even_level():
    # At a bound of 127.5 a pixel is a level, so these lie exactly between two.
    halves = np.float32([-127, -126, -125, 0, 1, 2])
    assert encode(halves, 127.5).tolist() == [0, 2, 2, 128, 128, 130]


@given(st.lists(st.floats(-40, 40, width=32), min_size=1), st.sampled_from([5.0, 15.0, 20.0, 32.0]))
def test_every_value_is_the_published_formula(values, bound):
    assert encode(np.float32(values), bound).tolist() == [dense_flow(float(np.float32(v)), bound) for v in values]


def test_decoding_is_off_by_half_a_level_at_most():
    flow = np.random.default_rng(0).uniform(-20, 20, (8, 9, 2)).astype(np.float32)
    assert np.abs(decode(encode(flow)) - flow).max() <= 20 / 255 + 1e-5


def test_every_level_survives_a_round_trip():
    levels = np.arange(256, dtype=np.uint8)
    for bound in (5.0, 20.0, 32.0):
        np.testing.assert_array_equal(encode(decode(levels, bound), bound), levels)
    assert decode(levels)[[0, 128, 255]] == pytest.approx([-20, 20 / 255, 20])


def test_what_is_not_a_number_is_refused():
    with pytest.raises(ValueError, match="not a number"):
        encode(np.float32([0, np.nan]))
