"""Sampling against its definition, for every length of video and by brute force."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import UserError
from pipeline.data.config import ClipConfig
from pipeline.data.feed.sampling import draw_indices, view_indices

LENGTHS = range(1, 201)
CLIPS = [
    ClipConfig(frames=frames, stride=stride, sampling=sampling)
    for frames, stride, sampling in [
        (32, 1, "dense"),
        (32, 2, "dense"),
        (8, 5, "dense"),
        (1, 1, "dense"),
        (1, 7, "dense"),
    ]
] + [ClipConfig(frames=frames, sampling="uniform") for frames in (1, 8, 32)]


class Fixed:
    """A generator whose draws are all `value`, in [0, 1)."""

    def __init__(self, value):
        self.value = value

    def random(self, size=None):
        return self.value if size is None else np.full(size, self.value)


def reference_dense(length, clip, start):
    wanted = [start + i * clip.stride for i in range(clip.frames)]
    return [min(w, length - 1) for w in wanted], [w < length for w in wanted]


def as_lists(indices):
    idx_T, valid_T = indices
    assert idx_T.dtype == np.int32
    assert valid_T.dtype == np.bool_
    return idx_T.tolist(), valid_T.tolist()


@pytest.mark.parametrize("clip", CLIPS, ids=str)
def test_every_length_gives_indices_in_range_and_in_order(clip):
    rng = np.random.default_rng(0)
    for length in LENGTHS:
        for idx_T, valid_T in [draw_indices(length, clip, rng), *(view_indices(length, clip, k, 3) for k in range(3))]:
            assert idx_T.shape == valid_T.shape == (clip.frames,)
            assert idx_T.min() >= 0
            assert idx_T.max() < length
            assert (np.diff(idx_T) >= 0).all()
            assert valid_T[0]


@pytest.mark.parametrize("draw", [0.0, 0.5, math.nextafter(1, 0)])
def test_a_dense_draw_reaches_the_first_and_the_last_start(draw):
    for clip in CLIPS[:5]:
        span = (clip.frames - 1) * clip.stride + 1
        for length in LENGTHS:
            start = math.floor(draw * (length - span + 1)) if length >= span else 0
            assert as_lists(draw_indices(length, clip, Fixed(draw))) == reference_dense(length, clip, start)


def test_dense_starts_are_drawn_uniformly():
    clip, rng = ClipConfig(frames=8, stride=2), np.random.default_rng(1)
    starts = [int(draw_indices(19, clip, rng)[0][0]) for _ in range(5000)]
    counts = np.bincount(starts, minlength=5)
    assert len(counts) == 5
    assert abs(counts - 1000).max() < 120, "four standard deviations"


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_dense_views_are_the_middles_of_equal_ranges_of_starts(n):
    for clip in CLIPS[:5]:
        span = (clip.frames - 1) * clip.stride + 1
        for length in LENGTHS:
            for k in range(n):
                start = (2 * k + 1) * (length - span + 1) // (2 * n) if length >= span else 0
                assert as_lists(view_indices(length, clip, k, n)) == reference_dense(length, clip, start)


def test_two_dense_clips_start_at_a_quarter_and_three_quarters_of_the_free_range():
    clip = ClipConfig(frames=32)
    assert [int(view_indices(131, clip, k, 2)[0][0]) for k in (0, 1)] == [25, 75]


def test_a_short_video_holds_its_last_frame_and_says_so():
    idx, valid = as_lists(view_indices(5, ClipConfig(frames=8, stride=2, size=8), 0, 1))
    assert idx == [0, 2, 4, 4, 4, 4, 4, 4]
    assert valid == [True, True, True, False, False, False, False, False]


def test_uniform_draws_take_one_frame_of_every_segment():
    for clip in CLIPS[5:]:
        for draw in (0.0, 0.25, 0.999999, math.nextafter(1, 0)):
            for length in LENGTHS:
                idx, valid = as_lists(draw_indices(length, clip, Fixed(draw)))
                exact = [min(math.floor((i + draw) * length / clip.frames), length - 1) for i in range(clip.frames)]
                assert np.abs(np.subtract(idx, exact)).max() <= (draw > 0.99), "the last draw below 1 may round up"
                assert all(valid)


@given(length=st.integers(1, 3000), frames=st.integers(1, 64), k=st.integers(0, 1))
def test_uniform_views_are_the_middles_then_the_beginnings_of_the_segments(length, frames, k):
    idx, valid = as_lists(view_indices(length, ClipConfig(frames=frames, sampling="uniform"), k, 2))
    # Floor of an exact fraction, without floats.
    numerators = [2 * i + 1 for i in range(frames)] if k == 0 else [2 * i for i in range(frames)]
    assert idx == [a * length // (2 * frames) for a in numerators]
    assert all(valid)


def test_one_uniform_view_equals_the_first_of_two():
    clip = ClipConfig(frames=8, sampling="uniform")
    for length in LENGTHS:
        assert as_lists(view_indices(length, clip, 0, 1)) == as_lists(view_indices(length, clip, 0, 2))


def test_the_control_experiment_shows_the_middle_real_frame_only():
    clip = ClipConfig(frames=8, repeat_one_frame=True)
    assert as_lists(view_indices(20, clip, 0, 1)) == ([10] * 8, [True] * 8)  # start 6, middle 6 + 4
    assert as_lists(view_indices(3, clip, 0, 1)) == ([1] * 8, [True] * 8)


def test_impossible_requests_are_refused():
    with pytest.raises(UserError, match="0 frames"):
        view_indices(0, ClipConfig(), 0, 1)
    with pytest.raises(UserError, match="0 frames"):
        draw_indices(0, ClipConfig(), np.random.default_rng(0))
    with pytest.raises(ValueError, match="test clip 2 of 2"):
        view_indices(10, ClipConfig(), 2, 2)
