"""What the training loop asks of its data, and the feed of a prepared data set that answers it."""

import math
from collections.abc import Callable, Generator
from typing import Any, Protocol

from pipeline.core.errors import UserError, problem
from pipeline.data.config import ViewConfig
from pipeline.data.feed.batches import (
    TrainingRequest,
    ViewsRequest,
    local_test_batches,
    local_train_batches,
    test_batches,
    train_batches,
)
from pipeline.data.feed.microbatch import clip_bytes
from pipeline.data.feed.plan import Plan
from pipeline.data.store.catalog import CatalogRow, Passport
from pipeline.data.store.prepared import PreparedDataset
from pipeline.train.recipe import Recipe, RunRecipe
from pipeline.train.task import StepBatch

Batches = Generator[StepBatch, None, None]


class TrainingFeed(Protocol):
    """Micro-batches of a run; a pure function of the recipe and the position."""

    plan: Plan
    classes: tuple[str, ...]
    passport: Passport
    """Identity of the data; a run is resumed on the same data only."""
    rows: tuple[CatalogRow, ...]
    """Every listed video, so that differences to other data can name videos; empty where there is no catalog."""
    validation_videos: int
    """Videos of the validation split."""
    sample_bytes: int
    """Size of the arrays of one sample; the preflight counts what waits in the object store."""

    def train(self, start_step: int, rank: int, world: int) -> Batches:
        """Yield this worker's micro-batches of all steps from `start_step` on."""
        ...

    def validation(self, rank: int, world: int) -> Batches:
        """Yield this worker's share of the validation split: one view a video, no padding."""
        ...


OpenFeed = Callable[[Any], TrainingFeed]
"""Opens the feed of a recipe; called once in the driver and once in every worker, to which it travels by pickling."""


def check_classes(configured: int, classes: tuple[str, ...]) -> None:
    """Refuse a network of another number of classes than the data.

    Raises:
        UserError: names both.
    """
    if len(classes) != configured:
        raise UserError(
            problem(
                "The network has another number of classes than the data",
                got=f"model.classes={configured}",
                allowed=f"the {len(classes)} classes of the prepared data set",
                fix=f"set model.classes={len(classes)}",
            )
        )


def micro_batch(recipe: RunRecipe) -> int:
    """Return the largest number of samples that a worker holds on its device at a time."""
    return math.ceil(recipe.train.global_batch / (recipe.compute.workers * recipe.train.accumulate))


class PreparedFeed:
    """The feed of a prepared data set, through Ray Data, or inside the training process where `compute.data_cpus` is 0.

    Args:
        recipe: names the data set, its splits, the clips and the batch.

    Raises:
        UserError: there is no such data set or split, or it has another number of classes than the network.
    """

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._dataset = PreparedDataset.open(recipe.data.root)
        videos = self._dataset.videos(recipe.data.train_split, recipe.data.fold)
        check_classes(recipe.model.classes, self._dataset.classes)
        self.plan = Plan(recipe.train.seed, len(videos), recipe.train.global_batch, recipe.train.epochs)
        self.classes = self._dataset.classes
        self.passport = self._dataset.identity
        self.rows = self._dataset.rows
        self.sample_bytes = clip_bytes(recipe.clip)
        self.validation_videos = len(self._dataset.videos(recipe.data.test_split, recipe.data.fold))

    def train(self, start_step: int, rank: int, world: int) -> Batches:
        """Yield this worker's micro-batches of all steps from `start_step` on."""
        recipe, compute = self._recipe, self._recipe.compute
        request = TrainingRequest(
            data=recipe.data,
            clip=recipe.clip,
            augment=recipe.augment,
            accumulate=recipe.train.accumulate,
            start_step=start_step,
            rank=rank,
            world=world,
        )
        if not compute.data_cpus:
            return local_train_batches(self._dataset, self.plan, request)
        cpus, prefetch = compute.data_cpus, compute.prefetch
        return train_batches(self._dataset, self.plan, request, data_cpus=cpus, prefetch=prefetch)

    def validation(self, rank: int, world: int) -> Batches:
        """Yield this worker's share of the validation split: one centred clip a video, no padding."""
        recipe, compute = self._recipe, self._recipe.compute
        request = ViewsRequest(
            split=recipe.data.test_split,
            fold=recipe.data.fold,
            clip=recipe.clip,
            views=ViewConfig(),
            batch=micro_batch(recipe),
            rank=rank,
            world=world,
        )
        if not compute.data_cpus:
            return local_test_batches(self._dataset, request)
        return test_batches(self._dataset, request, data_cpus=compute.data_cpus, prefetch=compute.prefetch)
