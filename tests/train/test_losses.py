"""The summed losses against NumPy."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pipeline.train.losses import loss_sums


def cross_entropy(logits_BK, label_B):
    shifted_BK = logits_BK - logits_BK.max(axis=1, keepdims=True)
    log_p_BK = shifted_BK - np.log(np.exp(shifted_BK).sum(axis=1, keepdims=True))
    return -log_p_BK[np.arange(len(label_B)), label_B].sum()


def test_both_branches_are_summed_over_the_batch_with_equal_weight():
    rng = np.random.default_rng(1)
    per_BK, att_BK, label_B = rng.normal(0, 3, (7, 11)), rng.normal(0, 3, (7, 11)), rng.integers(0, 11, 7)
    output = SimpleNamespace(logits_BK=torch.from_numpy(per_BK), att_logits_BK=torch.from_numpy(att_BK))
    sums = loss_sums(output, torch.from_numpy(label_B))
    assert float(sums.perception) == pytest.approx(cross_entropy(per_BK, label_B), rel=1e-6)
    assert float(sums.attention) == pytest.approx(cross_entropy(att_BK, label_B), rel=1e-6)
    assert float(sums.total()) == pytest.approx(float(sums.perception) + float(sums.attention), rel=1e-6)


def test_the_baseline_has_no_attention_loss():
    output = SimpleNamespace(logits_BK=torch.zeros(4, 3), att_logits_BK=None)
    sums = loss_sums(output, torch.tensor([0, 1, 2, 0]))
    assert float(sums.attention) == 0.0
    assert float(sums.total()) == pytest.approx(4 * np.log(3), rel=1e-6)


def test_bfloat16_logits_are_summed_in_float32():
    logits_BK = torch.zeros(1000, 2, dtype=torch.bfloat16)
    output = SimpleNamespace(logits_BK=logits_BK, att_logits_BK=None)
    sums = loss_sums(output, torch.zeros(1000, dtype=torch.int64))
    # A bfloat16 sum would stop growing long before 1000 * log 2.
    assert sums.perception.dtype == torch.float32
    assert float(sums.perception) == pytest.approx(1000 * np.log(2), rel=1e-5)
