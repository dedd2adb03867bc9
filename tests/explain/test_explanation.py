"""Arrays survive the .npz unchanged; impossible explanations are refused."""

import dataclasses
import io

import numpy as np
import pytest

from pipeline.eval.metrics import softmax
from pipeline.explain.explanation import best, to_npz


def test_npz_holds_the_arrays_bit_for_bit_and_needs_no_pickle(explanation):
    with np.load(io.BytesIO(to_npz(explanation)), allow_pickle=False) as arrays:
        assert (arrays["spatial"] == explanation.spatial_THW).all()
        assert (arrays["temporal"] == explanation.temporal_T).all()
        assert (arrays["idx"] == explanation.idx_T).all()
        assert (arrays["valid"] == explanation.valid_T).all()
        assert (arrays["logits"] == explanation.logits_K).all()
        assert (arrays["att_logits"] == explanation.att_logits_K).all()
        assert tuple(arrays["classes"]) == explanation.classes
        assert arrays["fps"] == 12.0


def test_softmax_and_best_against_plain_python():
    logits = np.array([1000.0, 1001.0, 999.0, 1001.0], np.float32)
    powers = [np.exp(v - 1001.0) for v in (1000.0, 1001.0, 999.0, 1001.0)]
    assert np.allclose(softmax(logits), np.array(powers) / sum(powers), rtol=1e-6)
    assert best(softmax(logits), 3) == [1, 3, 0]
    assert best(softmax(logits), 9) == [1, 3, 0, 2]


@pytest.mark.parametrize("field", ["temporal_T", "valid_T", "spatial_THW", "active_T", "logits_K"])
def test_a_length_that_does_not_fit_is_named(explanation, field):
    with pytest.raises(ValueError, match=field):
        dataclasses.replace(explanation, **{field: getattr(explanation, field)[:-1]})
    with pytest.raises(ValueError, match="label"):
        dataclasses.replace(explanation, label=6)
