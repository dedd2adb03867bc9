"""Temporal attention against people's values, by hand."""

import numpy as np
import pytest

from pipeline.finetune.edits import Edit
from pipeline.finetune.measure import nearness
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
