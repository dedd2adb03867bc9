"""Counts over a split against brute force, and their reconciliation."""

import pytest
import torch

from pipeline.train.device import to_model_input
from pipeline.train.validate import validate


def ranked(logits_BK, label_B, k):
    """Brute force: sort each row and look."""
    hits = 0
    for row, label in zip(logits_BK.tolist(), label_B.tolist(), strict=True):
        order = sorted(range(len(row)), key=lambda i: -row[i])
        hits += label in order[:k]
    return hits


def test_uneven_batches_give_the_same_as_one(task, network, make_batch, settings):
    module = network()
    module.train()
    batch = make_batch(11)
    parts = [
        batch._replace(x_BTHWC=batch.x_BTHWC[rows], label_B=batch.label_B[rows])
        for rows in (slice(0, 5), slice(5, 10), slice(10, 11))
    ]
    whole = validate(task, module, [batch], 11, settings())
    pieces = validate(task, module, parts, 11, settings())
    assert pieces.metrics == pytest.approx(dict(whole.metrics), rel=1e-6)
    assert set(whole.metrics) == {"top1", "top5", "att_top1", "att_top5", "loss"}
    hits = [
        ranked(module.eval()(to_model_input(p.x_BTHWC, torch.device("cpu"), "fp32", False)).logits_BK, p.label_B, 1)
        for p in parts
    ]
    assert pieces.score == pieces.top1 == pieces.metrics["top1"] == pytest.approx(100 * sum(hits) / 11)
    module.train()
    assert module.training


def test_validation_moves_no_batch_norm_statistic(task, network, make_batch, settings):
    module = network()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    validate(task, module, [make_batch(4)], 4, settings())
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name])


def test_a_split_that_was_not_seen_whole_is_an_error(task, network, make_batch, settings):
    with pytest.raises(RuntimeError, match="saw 4 videos and the split has 5"):
        validate(task, network(), [make_batch(4)], 5, settings())
