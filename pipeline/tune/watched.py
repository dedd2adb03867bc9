"""Fine-tuning that is watched while it trains: validation tells edited and other classes apart, and attention's error.

A sweep judges every trial by its validations, so no job of its own comes after it. Behind the validation split the feed
puts the videos whose edits were held out, one centred clip each, and the task counts them apart. These are videos of
the training split, trained on like any other; what people said of them is not.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from pipeline.core.errors import UserError, problem
from pipeline.data.config import ViewConfig
from pipeline.data.feed.batches import ViewsRequest, local_test_batches, test_batches
from pipeline.data.store.prepared import PreparedDataset
from pipeline.finetune.edits import read_edits, targets
from pipeline.finetune.recipe import FinetuneRecipe
from pipeline.finetune.task import EditTask
from pipeline.train.clip_task import answer, correct_at
from pipeline.train.feeding import Batches, PreparedFeed, micro_batch
from pipeline.train.task import VIDEOS, StepSettings, Validation

if TYPE_CHECKING:
    from pipeline.data.feed.batches import Batch

HELDOUT = "heldout_videos"


class WatchedFeed(PreparedFeed):
    """The feed of a fine-tuning, whose validation ends with the videos of held-out edits.

    Args:
        recipe: names data, clips, batch and edits.

    Raises:
        UserError: data or edits cannot be read, or do not fit the recipe, or no video of the validation split is of an
            edited class: nothing would say which trial is better.
    """

    def __init__(self, recipe: FinetuneRecipe) -> None:
        super().__init__(recipe)
        self._finetune = recipe
        edits, dataset = read_edits(recipe.edits.batches), PreparedDataset.open(recipe.data.root)
        labels = Counter(video.label for video in dataset.videos(recipe.data.test_split, recipe.data.fold))
        if not any(labels[edited] for edited in edits.classes):
            raise UserError(
                problem(
                    f"No video of validation split {recipe.data.test_split} is of an edited class",
                    got=f"edits of classes {list(edits.classes)}, videos of classes {sorted(labels)}",
                    allowed="a labelled video of an edited class, or more; top-1 of these chooses the winner",
                    fix="name batches about classes of this split with --batches, or set data.test_split",
                )
            )
        self._heldout = replace(dataset, rows=tuple(row for row in dataset.rows if row.id in edits.heldout))
        self.validation_videos += len(self._heldout.videos(recipe.data.train_split, recipe.data.fold))

    def validation(self, rank: int, world: int) -> Batches:
        """Yield this worker's share of the validation split, then of the held-out videos, one centred clip each."""
        yield from super().validation(rank, world)
        recipe, compute = self._finetune, self._finetune.compute
        request = ViewsRequest(
            split=recipe.data.train_split,
            fold=recipe.data.fold,
            clip=recipe.clip,
            views=ViewConfig(),
            batch=micro_batch(recipe),
            rank=rank,
            world=world,
        )
        if not compute.data_cpus:
            yield from local_test_batches(self._heldout, request)
        else:
            cpus, prefetch = compute.data_cpus, compute.prefetch
            yield from test_batches(self._heldout, request, data_cpus=cpus, prefetch=prefetch)


class WatchedTask(EditTask):
    """Fine-tunes like any `EditTask`; its validation counts edited and other classes, and held-out edits, apart.

    Args:
        recipe: names base checkpoint, batches and data.

    Raises:
        UserError: a batch is damaged, or its videos are not those of the training split.
    """

    @cached_property
    def _edited(self) -> Tensor:
        return torch.tensor(self.edits.classes)

    def count(self, module: nn.Module, batch: Batch, settings: StepSettings) -> Mapping[str, Tensor]:
        """Return sums over a batch of the validation split, or over one of held-out videos; no batch is of both."""
        if batch.ids[0] in self.edits.heldout:
            return self._distances(module, batch, settings)
        output, label_B = answer(module, batch, settings)
        edited_B = torch.isin(label_B, self._edited.to(label_B.device))
        apart = {"edited": edited_B, "other": ~edited_B}
        sums = self.counted(output, label_B)
        for group, chosen_B in apart.items():
            sums[f"{group}_videos"] = chosen_B.sum()
            sums[f"{group}_hits"] = correct_at(output.logits_BK[chosen_B], label_B[chosen_B], 1)
        return sums

    def _distances(self, module: nn.Module, batch: Batch, settings: StepSettings) -> Mapping[str, Tensor]:
        """Return sums of each video's mean squared difference to its edit, over the frames that people set."""
        output, _ = answer(module, batch, settings)
        assert output.temporal_B1T11 is not None, "the recipe allows no baseline"
        target_BT, mask_BT = targets(self.edits.heldout, batch.ids, batch.idx_BT.numpy(), batch.valid_BT.numpy())
        mask = torch.from_numpy(mask_BT).to(settings.device)
        square_BT = (output.temporal_B1T11.flatten(1).float() - torch.from_numpy(target_BT).to(settings.device)) ** 2
        # A clip may show none of the frames that were set; it has no difference then.
        set_B = mask.any(dim=1)
        mean_B = ((square_BT * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1))[set_B].double()
        seen = torch.tensor(len(batch.ids), device=settings.device)
        return {
            VIDEOS: seen,
            "not_scored": seen,
            HELDOUT: set_B.sum(),
            "sum": mean_B.sum(),
            "squares": (mean_B**2).sum(),
        }

    def summarise(self, sums: Mapping[str, float], videos: int) -> Validation:
        """Return what every fine-tuning says of the validation split, and the groups and held-out edits beside it."""
        plain = super().summarise(sums, videos - round(sums.get("not_scored", 0.0)))
        found = {
            f"{group}_{what}": sums[f"{group}_{what}"] for group in ("edited", "other") for what in ("hits", "videos")
        }
        for group in ("edited", "other"):
            if found[f"{group}_videos"]:
                found[f"{group}_top1"] = 100.0 * found[f"{group}_hits"] / found[f"{group}_videos"]
        if count := sums.get(HELDOUT, 0.0):
            mean = sums["sum"] / count
            variance = max(0.0, sums["squares"] - count * mean**2) / max(1.0, count - 1)
            found |= {HELDOUT: count, "heldout_mse": mean, "heldout_sd": math.sqrt(variance)}
        shown = {name: found[key] for name, key in (("edited", "edited_top1"), ("other", "other_top1")) if key in found}
        return replace(plain, metrics={**plain.metrics, **found}, shown={**plain.shown, **shown})
