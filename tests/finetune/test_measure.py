"""Temporal attention against people's values, by hand."""

import numpy as np
import pytest

from pipeline.data.feed.place import Place
from pipeline.finetune.edits import Edit
from pipeline.finetune.measure import nearness
from pipeline.finetune.where import compare_maps
from pipeline.finetune.windows import VideoAttention


def seen(video, *values):
    return VideoAttention(video, np.array(values, np.float32), ())


def edit(video, scores, known):
    return Edit(video, 0, np.array(scores, np.float32), np.array(known), {})


def test_differences_and_correlations_are_over_the_frames_that_people_set():
    edits = {
        "a": edit("a", [0.0, 1.0, 0.0], [True, True, False]),
        "flat": edit("flat", [0.5, 0.5], [True, True]),
        "unset": edit("unset", [0.0, 0.0], [False, False]),
    }
    found = nearness([seen("a", 0.1, 0.7, 0.9), seen("flat", 0.5, 0.9), seen("unset", 0.1, 0.9)], edits)
    assert found.videos == 2
    assert found.mse.value == pytest.approx(np.mean([(0.01 + 0.09) / 2, 0.16 / 2]))
    assert found.correlated == 1
    assert found.correlation.value == pytest.approx(1.0)
    assert "over 2 videos" in found.sentence()
    assert nearness([], {}).sentence() == "no edited video was held out"


def test_maps_are_compared_as_the_clip_sees_them_over_the_frames_where_people_pointed():
    """People painted the left half of frames 0 and 2; the clip is the picture's left half, and all of it is painted."""
    left_P = np.repeat([[1.0] * 7 + [0.0] * 7], 14, axis=0).ravel().astype(np.float32)
    scores, known = np.ones(3, np.float32), np.ones(3, bool)
    edits = {"a": Edit("a", 0, scores, known, {0: left_P, 2: left_P}), "b": Edit("b", 0, scores, known, {})}
    maps_Vhw = np.zeros((3, 2, 2), np.float32)
    maps_Vhw[0], maps_Vhw[1], maps_Vhw[2] = 0.9, 0.0, 0.7
    watched = [VideoAttention(video, scores, (), maps_Vhw) for video in "ab"]
    place = Place(0.0, 0.0, 1.0, 0.4, False)
    count, found = compare_maps(watched, edits, {"a": place, "b": place})
    assert count == 1
    assert found.value == pytest.approx((0.1**2 + 0.3**2) / 2, rel=1e-5)
    unseen = [VideoAttention("a", scores, ())]
    assert compare_maps(unseen, edits, {"a": place})[0] == 0
