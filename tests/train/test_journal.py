"""Intervals of steps become points, each once, whatever was sent or saved in between."""

from dataclasses import replace

import pytest
import torch

from pipeline.train.journal import Journal, Totals
from pipeline.train.step import StepOutcome


def outcome(step, per, att, clips=4, applied=True):
    """Means over the step's clips, given their sums."""
    losses = {"total": per + att, "perception": per, "attention": att}
    means = {name: torch.tensor(value / clips) for name, value in losses.items()}
    return StepOutcome(step, 0, (), clips, means, 2.0, applied)


@pytest.fixture
def journal(settings):
    return Journal(settings(), steps=20, steps_per_epoch=10)


def test_an_interval_is_a_mean_over_its_clips(journal):
    journal.add(outcome(0, 8.0, 4.0, clips=4), lr=0.1, seconds=1.0, wait_s=0.25)
    journal.add(outcome(1, 3.0, 2.0, clips=1), lr=0.2, seconds=3.0, wait_s=0.75)
    journal.close_interval(2, skipped=0)
    (point,) = journal.points
    assert point["step"] == 2
    assert point["metrics"] == pytest.approx(
        {
            "train/loss": 17 / 5,
            "train/loss_perception": 11 / 5,
            "train/loss_attention": 6 / 5,
            "train/step_s": 2.0,
            "train/data_wait": 0.25,
            "train/clips_per_s": 5 / 4,
            "train/lr": 0.2,
            "train/grad_norm": 2.0,
            "train/skipped": 0.0,
            "epoch": 0.2,
        }
    )


def test_a_skipped_step_adds_its_time_and_no_loss(journal):
    journal.add(outcome(0, float("nan"), float("nan"), applied=False), 0.1, 1.0, 0.0)
    journal.add(outcome(1, 4.0, 0.0), 0.1, 1.0, 0.0)
    journal.close_interval(2, skipped=1)
    metrics = journal.points[0]["metrics"]
    assert metrics["train/loss"] == 1.0
    assert (metrics["train/step_s"], metrics["train/skipped"]) == (1.0, 1.0)


def test_losses_that_come_and_go_are_the_tasks_mistake(journal):
    journal.add(outcome(0, 8.0, 4.0), 0.1, 1.0, 0.0)
    other = outcome(1, 8.0, 4.0)
    with pytest.raises(RuntimeError, match=r"\['total', 'perception', 'attention'\] and are \['total'\]"):
        journal.add(replace(other, losses={"total": other.losses["total"]}), 0.1, 1.0, 0.0)


def test_an_interval_without_steps_is_no_point(journal):
    journal.close_interval(0, skipped=0)
    assert journal.points == []


def test_points_are_sent_once_and_kept_until_a_checkpoint_holds_them(journal):
    for step in (1, 2):
        journal.note(step, {"a": step})
    assert [p["step"] for p in journal.unsent()] == [1, 2]
    journal.note(3, {"a": 3})
    assert [p["step"] for p in journal.points] == [1, 2, 3]
    assert [p["step"] for p in journal.unsent()] == [3]
    journal.saved()
    assert journal.points == journal.unsent() == []


def test_after_a_restart_the_checkpoints_points_are_sent_again(journal):
    journal.restore([{"step": 4, "time_ms": 0, "metrics": {}}])
    assert [p["step"] for p in journal.unsent()] == [4]


def test_the_line_of_an_epoch_covers_all_its_intervals(journal):
    for step, loss in enumerate((8.0, 4.0)):
        journal.add(outcome(step, loss, 0.0), 0.1, 1.0, 0.5)
        journal.close_interval(step + 1, 0)
    line = journal.line(10, end_of_epoch=True)
    assert line.startswith(
        "epoch 1/2  step 10/20  loss 1.500 (perception 1.500, attention 0.000)  lr 0.1  "
        "grad 2.00  4.0 clips/s  data wait 50 % (slow feed"
    )
    assert line.endswith("0 min 10 s left")


def test_totals_add_up():
    total = Totals({"total": 1.0}, 3, 4, 5.0, 6.0) + Totals({"total": 1.0, "a": 2.0}, 1, 1, 1.0, 1.0)
    assert total == Totals({"total": 2.0, "a": 2.0}, 4, 5, 6.0, 7.0)
    assert Totals({"a": 2.0}, 4, 5, 6.0, 7.0) + Totals() == Totals({"a": 2.0}, 4, 5, 6.0, 7.0)
    assert Totals().metrics() == {}
