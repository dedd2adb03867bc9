"""The feed of a prepared data set: what it says of itself, and that it follows the plan."""

import contextlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from models import ModelConfig
from pipeline.core.config import override
from pipeline.core.errors import UserError
from pipeline.data.config import ClipConfig, DataConfig
from pipeline.data.store.prepared import PreparedDataset
from pipeline.train.feeding import PreparedFeed, micro_batch
from pipeline.train.recipe import ComputeConfig, Recipe, TrainConfig


@pytest.fixture
def recipe(tiny_root):
    return override(
        Recipe(
            name="tiny",
            data=DataConfig(root=tiny_root, train_split="validation"),  # the longer split of the two
            train=TrainConfig(epochs=2, global_batch=3),
            compute=ComputeConfig(data_cpus=0.0),
            clip=replace(ClipConfig(), size=32, short_side=32),
            model=ModelConfig(classes=3),
        ),
        [],
    )


def test_it_knows_its_data(recipe, tiny_root):
    feed, dataset = PreparedFeed(recipe), PreparedDataset.open(tiny_root)
    assert feed.classes == dataset.classes
    assert (feed.passport, feed.rows) == (dataset.identity, dataset.rows)
    assert (feed.plan.samples, feed.plan.global_batch, feed.plan.epochs) == (7, 3, 2)
    assert feed.validation_videos == 7
    assert feed.sample_bytes == next(feed.train(0, 0, 1)).x_BTHWC[0].nbytes


def test_training_follows_the_plan_from_any_step(recipe):
    feed = PreparedFeed(recipe)
    ids = [video.id for video in PreparedDataset.open(recipe.data.root).videos("validation")]
    for start in (0, 4):
        seen = [(batch.step, batch.ids) for batch in feed.train(start, 0, 1)]
        plan = [feed.plan.step(g) for g in range(start, feed.plan.total_steps)]
        assert seen == [(step.step, tuple(ids[i] for i in step.samples)) for step in plan]


def test_validation_is_every_video_once_over_the_workers(recipe):
    feed = PreparedFeed(recipe)
    ids = [video.id for video in PreparedDataset.open(recipe.data.root).videos("validation")]
    assert [i for rank in range(2) for batch in feed.validation(rank, 2) for i in batch.ids] == ids


def test_a_micro_batch_is_a_workers_share_of_a_step():
    recipe = Recipe(
        name="r", compute=ComputeConfig(workers=8, gpu=True), train=TrainConfig(global_batch=64, accumulate=2)
    )
    assert micro_batch(recipe) == 4


def test_a_network_of_other_classes_is_refused(recipe):
    with pytest.raises(UserError, match=r"model\.classes=4\. Allowed: the 3 classes"):
        PreparedFeed(override(recipe, ["model.classes=4"]))


def test_an_absent_split_is_the_users_error(recipe):
    with pytest.raises(UserError, match="no such split"):
        PreparedFeed(override(recipe, ["data.train_split=trian"]))


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray", "ignore::ResourceWarning")
def test_a_paused_training_leaves_validation_its_cpu(cluster, recipe):
    """One CPU for both feeds: the training's is full and waits, and the validation's must still deliver everything."""
    import ray

    @ray.remote
    class Trainer:
        def ready(self):
            return True

    # 210 clips, so four tasks, in one segment.
    feed = PreparedFeed(override(recipe, ["train.epochs=30", "compute.data_cpus=1", "compute.prefetch=2"]))
    holder = Trainer.options(num_cpus=ray.cluster_resources()["CPU"] - 1).remote()
    try:
        assert ray.get(holder.ready.remote())
        with contextlib.closing(feed.train(0, 0, 1)) as training:
            seen = [next(training).ids for _ in range(3)]
            with ThreadPoolExecutor(1) as pool:
                validation = pool.submit(lambda: [i for batch in feed.validation(0, 1) for i in batch.ids])
                try:
                    ids = validation.result(timeout=90)
                except TimeoutError:
                    training.close()  # gives the CPU back, so that the test can end
                    raise
            assert ids == [video.id for video in PreparedDataset.open(recipe.data.root).videos("validation")]
            seen += [batch.ids for batch in training]
        assert seen == [tuple(ids[i] for i in feed.plan.step(g).samples) for g in range(feed.plan.total_steps)]
    finally:
        ray.kill(holder)
