"""A clip with hand-made attention, so that every drawn value is known."""

import numpy as np
import pytest

from pipeline.explain.explanation import Explanation

CLASSES = ("Pushing <b>left</b> to right", "Closing & opening", "Poking", "Lifting", "Turning", "Folding")


def make_explanation(frames=32, side=64, map_side=14, *, padded=0, active=True, label=0, start=0):
    rng = np.random.default_rng(frames)
    real = frames - padded
    idx = np.minimum(np.arange(frames) + start, start + real - 1).astype(np.int32)
    return Explanation(
        source="clip <1>.webm",
        fps=12.0,
        x_THWC=rng.integers(0, 256, size=(frames, side, side, 3), dtype=np.uint8),
        idx_T=idx,
        valid_T=np.arange(frames) < real,
        logits_K=np.array([1.0, 2.5, 0.0, -1.0, 0.5, -2.0], np.float32),
        att_logits_K=np.array([2.0, 1.0, 0.0, -1.0, 0.5, -2.0], np.float32),
        spatial_THW=rng.random((frames, map_side, map_side), np.float32),
        temporal_T=np.linspace(0.0, 1.0, frames, dtype=np.float32),
        classes=CLASSES,
        label=label,
        active_T=(np.arange(frames) % 3 == 0) if active else None,
    )


@pytest.fixture
def explanation():
    return make_explanation()


@pytest.fixture(name="make_explanation", scope="session")
def make_explanation_fixture():
    return make_explanation
