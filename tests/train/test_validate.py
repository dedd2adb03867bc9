"""Counts over a split against brute force, and their reconciliation."""

import pytest
import torch

from pipeline.train.validate import correct_at, validate


def ranked(logits_BK, label_B, k):
    """Brute force: sort each row and look."""
    hits = 0
    for row, label in zip(logits_BK.tolist(), label_B.tolist(), strict=True):
        order = sorted(range(len(row)), key=lambda i: -row[i])
        hits += label in order[:k]
    return hits


@pytest.mark.parametrize("k", [1, 5])
def test_hits_among_the_k_highest(k):
    generator = torch.Generator().manual_seed(0)
    logits_BK, label_B = torch.randn(50, 9, generator=generator), torch.randint(0, 9, (50,), generator=generator)
    assert int(correct_at(logits_BK, label_B, k)) == ranked(logits_BK, label_B, k)


def test_fewer_classes_than_five_count_as_all_of_them():
    assert int(correct_at(torch.zeros(4, 3), torch.tensor([0, 1, 2, 0]), 5)) == 4


def test_uneven_batches_give_the_same_as_one(network, make_batch, settings):
    module = network()
    module.train()
    batch = make_batch(11)
    parts = [
        batch._replace(x_BTHWC=batch.x_BTHWC[rows], label_B=batch.label_B[rows])
        for rows in (slice(0, 5), slice(5, 10), slice(10, 11))
    ]
    whole = validate(module, [batch], 11, settings())
    pieces = validate(module, parts, 11, settings())
    assert pieces.videos == 11
    assert (pieces.top1, pieces.top5, pieces.att_top1, pieces.att_top5) == (
        whole.top1,
        whole.top5,
        whole.att_top1,
        whole.att_top5,
    )
    assert pieces.loss == pytest.approx(whole.loss, rel=1e-6)
    assert module.training


def test_validation_moves_no_batch_norm_statistic(network, make_batch, settings):
    module = network()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    validate(module, [make_batch(4)], 4, settings())
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name])


def test_the_baseline_reports_no_attention_accuracy(network, make_batch, settings):
    metrics = validate(network(two=False), [make_batch(4)], 4, settings()).metrics()
    assert set(metrics) == {"val/top1", "val/top5", "val/loss"}


def test_a_split_that_was_not_seen_whole_is_an_error(network, make_batch, settings):
    with pytest.raises(RuntimeError, match="saw 4 videos and the split has 5"):
        validate(network(), [make_batch(4)], 5, settings())
