"""Losses and counts of clips against brute force."""

import pytest
import torch

from pipeline.train.clip_task import ClipTask, correct_at
from pipeline.train.device import to_model_input
from pipeline.train.recipe import Recipe, TrainConfig
from pipeline.train.validate import validate


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


def test_the_baseline_reports_no_attention_accuracy(task, network, make_batch, settings):
    metrics = validate(task, network(two=False), [make_batch(4)], 4, settings()).metrics
    assert set(metrics) == {"top1", "top5", "loss"}


def test_losses_are_shares_of_the_means_over_the_steps_clips(task, network, make_batch, settings):
    module, batch = network(), make_batch(3, samples_in_step=7)
    losses = task.losses(module, batch, settings())
    output = module(to_model_input(batch.x_BTHWC, torch.device("cpu"), "fp32", False))
    logits_2BK = torch.stack([output.logits_BK, output.att_logits_BK])
    chance_2B = logits_2BK.exp()[:, torch.arange(3), batch.label_B] / logits_2BK.exp().sum(2)
    perception, attention = (-chance_2B.log().sum(1) / 7).tolist()
    expected = {"perception": perception, "attention": attention}
    expected["total"] = sum(expected.values())
    assert {name: value.item() for name, value in losses.items()} == pytest.approx(expected, rel=1e-5)
    assert set(task.losses(network(two=False), batch, settings())) == {"total", "perception"}


def test_an_epochs_line_shows_top1_and_top5(task):
    sums = {"top1": 1.0, "top5": 3.0, "loss": 8.0}
    result = task.summarise(sums, 4)
    assert (result.words(), result.score) == ("top-1 25.00  top-5 75.00", 25.0)
    assert result.metrics == {"top1": 25.0, "top5": 75.0, "loss": 2.0}


@pytest.mark.parametrize("channels_last", [False, True])
def test_the_recipe_says_the_memory_format(channels_last):
    task = ClipTask(Recipe(name="r", train=TrainConfig(channels_last=channels_last)))
    assert (task.memory_format is torch.channels_last_3d) == channels_last
