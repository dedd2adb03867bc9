"""What a watched fine-tuning counts, against counting by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.core.config import override
from pipeline.core.errors import UserError
from pipeline.data.store.prepared import PreparedDataset
from pipeline.finetune.task import EditTask
from pipeline.train.device import to_model_input
from pipeline.train.feeding import PreparedFeed
from pipeline.train.task import StepSettings
from pipeline.train.validate import validate
from pipeline.tune.watched import WatchedFeed, WatchedTask


@pytest.fixture
def settings():
    return StepSettings(
        device=torch.device("cpu"),
        precision="fp32",
        channels_last=False,
        accumulate=1,
        clip_norm=0.0,
        seed=0,
        rank=0,
        world=1,
    )


@pytest.fixture
def network(recipe):
    task = WatchedTask(recipe)
    module = task.build()
    task.first_weights(module, log=False)
    return task, module


def test_groups_and_held_out_edits_are_counted_apart(recipe, network, settings):
    task, module = network
    feed = WatchedFeed(recipe)
    found = validate(task, module, feed.validation(0, 1), feed.validation_videos, settings)

    hits, near = {True: [], False: []}, []
    module.eval()
    for batch in feed.validation(0, 1):
        with torch.inference_mode():
            output = module(to_model_input(batch.x_BTHWC, settings.device, "fp32", False))
        for row, video in enumerate(batch.ids):
            if video == "train-1":  # nine frames, of which people set 0 in the first four and 1 in the others
                truth_V = np.array([float(t >= 4) for t in range(9)])
                idx = batch.idx_BT[row].numpy()[batch.valid_BT[row].numpy()]
                ours = output.temporal_B1T11[row].flatten().numpy()[batch.valid_BT[row].numpy()]
                near.append(((ours - truth_V[idx]) ** 2).mean())
            else:
                label = int(batch.label_B[row])
                hits[label in (0, 1)].append(int(output.logits_BK[row].argmax()) == label)
    assert [len(hits[True]) + len(hits[False]), len(near)] == [7, 1]
    m = found.metrics
    assert (m["edited_hits"], m["edited_videos"]) == (sum(hits[True]), len(hits[True]))
    assert (m["other_hits"], m["other_videos"]) == (sum(hits[False]), len(hits[False]))
    assert m["top1"] == pytest.approx(100 * (sum(hits[True]) + sum(hits[False])) / 7)
    assert m["edited_top1"] == pytest.approx(100 * np.mean(hits[True]))
    assert m["heldout_videos"] == 1
    assert m["heldout_mse"] == pytest.approx(near[0], rel=1e-5)
    assert m["heldout_sd"] == 0.0


def test_the_rest_of_a_validation_is_every_fine_tunings(recipe, network, settings):
    task, module = network
    plain, watched = PreparedFeed(recipe), WatchedFeed(recipe)
    asked = validate(EditTask(recipe), module, plain.validation(0, 1), plain.validation_videos, settings)
    found = validate(task, module, watched.validation(0, 1), watched.validation_videos, settings)
    assert watched.validation_videos == plain.validation_videos + 1
    assert found.score == asked.score
    assert {name: found.metrics[name] for name in asked.metrics} == pytest.approx(dict(asked.metrics))


def test_two_workers_share_the_held_out_videos_too(recipe):
    feed = WatchedFeed(recipe)
    whole = sorted(video for batch in feed.validation(0, 1) for video in batch.ids)
    shares = [sorted(v for batch in feed.validation(rank, 2) for v in batch.ids) for rank in range(2)]
    assert sorted(shares[0] + shares[1]) == whole
    assert len(whole) == 8
    heldout = PreparedDataset.open(recipe.data.root).videos("train")
    assert {video.id for video in heldout} & set(whole) == {"train-1"}


def test_edits_of_classes_that_nobody_validates_are_refused(recipe):
    """The test split's labels are hidden: no video of it can be one of an edited class."""
    with pytest.raises(
        UserError, match=r"split test is of an edited class.*classes \[0, 1\], videos of classes \[-1\]"
    ):
        WatchedFeed(override(recipe, ["data.test_split=test"]))


def test_the_mean_and_its_spread_are_over_videos(recipe):
    task = WatchedTask(replace(recipe))
    values = [0.1, 0.4, 0.7, 0.2]
    sums = {
        "videos": 9,
        "not_scored": 5,
        "heldout_videos": 4,
        "sum": sum(values),
        "squares": sum(v * v for v in values),
    }
    sums |= {
        "top1": 2,
        "top5": 4,
        "loss": 4.0,
        "edited_hits": 1,
        "edited_videos": 2,
        "other_hits": 1,
        "other_videos": 2,
    }
    found = task.summarise(sums, 9)
    assert found.metrics["top1"] == 50.0
    assert found.metrics["heldout_mse"] == pytest.approx(np.mean(values))
    assert found.metrics["heldout_sd"] == pytest.approx(np.std(values, ddof=1))
