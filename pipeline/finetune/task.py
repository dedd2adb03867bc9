"""The task of fine-tuning on people's edits: L = L_att + L_per + L_temp, with the extractor as it was.

L_temp(x) = gamma_t / n * sum over n frames of (M't - Mt)^2, where Mt is the network's own temporal attention, after its
sigmoid, and M't what people said (S0 section 3.2; no public code trains on edits). The forward pass goes on with Mt:
edits are targets and never put into the network. The n frames are those of the clip that a person has set and that are
no padding; a clip without any contributes nothing. The whole training split is trained on, edited or not.

S0 leaves edits of the spatial attention to the future. Here they add L_spat(x) = gamma_s / n * sum over n frames of the
mean over cells of (M's - Ms)^2, its n frames those in which a person pointed (docs/decisions/0020).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from models import StAbn
from pipeline.core.config import to_dict
from pipeline.core.errors import UserError, problem
from pipeline.data.feed.flip import flip_map
from pipeline.data.feed.place import place_of
from pipeline.data.feed.plan import Plan
from pipeline.data.store.prepared import PreparedDataset
from pipeline.finetune.edits import Edits, check_edits, read_edits, targets
from pipeline.finetune.recipe import FinetuneRecipe
from pipeline.finetune.spatial import spatial_targets
from pipeline.train import checkpoint
from pipeline.train.clip_task import ClipTask, answer
from pipeline.train.losses import loss_sums
from pipeline.train.task import TOTAL, StepSettings

if TYPE_CHECKING:
    from pipeline.data.feed.batches import Batch

FREE = ("activation_checkpointing", "dropout", "stochastic_depth")
"""Fields of the network that may differ from the base's: they say nothing of its weights."""


class EditTask(ClipTask):
    """Fine-tunes ST-ABN on sealed batches. Every process that makes one checks every byte of them.

    Args:
        recipe: names base checkpoint, batches and data.

    Raises:
        UserError: a batch is damaged, its videos are not those of the training split, or nobody pointed although
            `edits.gamma_s` asks for it.
    """

    def __init__(self, recipe: FinetuneRecipe) -> None:
        super().__init__(recipe)
        self.recipe: FinetuneRecipe = recipe
        self._said = recipe.edits
        self._edits = read_edits(recipe.edits.batches)
        if recipe.edits.gamma_s and not self._edits.maps:
            fix = "mine with --spatial and annotate, or leave --gamma-s (edits.gamma_s) at 0"
            what = "The spatial term has nothing to learn from: in no video to train on anybody pointed"
            raise UserError(problem(what, got="0 frames with a map", allowed="one or more", fix=fix))
        dataset = PreparedDataset.open(recipe.data.root)
        split = f"split {recipe.data.train_split}, fold {recipe.data.fold}, of {dataset.name} at {dataset.root}"
        videos = dataset.videos(recipe.data.train_split, recipe.data.fold)
        check_edits(self._edits, videos, split)
        self._passport = dataset.passport
        self._ids = sorted(video.id for video in videos)
        self._rows = {row.id: row for row in dataset.rows if row.id in self._edits.train}
        self._flips = flip_map(dataset.classes, recipe.data.flip_pairs)

    @property
    def edits(self) -> Edits:
        """What is learnt from."""
        return self._edits

    def check_first_weights(self) -> None:
        """Try in the driver what every worker will do.

        Raises:
            UserError: there is no base checkpoint, or it is of another network.
        """
        self.first_weights(self.build(), log=False)

    def first_weights(self, module: nn.Module, *, log: bool) -> None:
        """Give the network the weights of the base checkpoint, statistics included.

        Raises:
            UserError: there is no base checkpoint, or it is of another network.
        """
        base = checkpoint.read(self._said.base)
        ours, theirs = to_dict(self.recipe.model), base.recipe.get("model", {})
        other = [key for key, value in ours.items() if key not in FREE and theirs.get(key, value) != value]
        if other:
            got = "; ".join(f"model.{key}: {theirs[key]} -> {ours[key]}" for key in other)
            fix = "leave the network as its training made it"
            what = f"The base checkpoint {self._said.base} is of another network"
            raise UserError(problem(what, got=got, allowed="the same model section", fix=fix))
        module.load_state_dict(base.model)
        if log:
            print(f"first weights from {self._said.base}, step {base.step}; {self._edits.sentence()}", flush=True)
            if others := set(self._edits.passports) - {self._passport}:
                print(
                    f"note: people saw data of passport {', '.join(sorted(others))}, not {self._passport}", flush=True
                )

    def train_mode(self, module: nn.Module) -> None:
        """Train mode but for the extractor, whose batch norm would follow the batches otherwise."""
        assert isinstance(module, StAbn), "a network of build()"
        module.train()
        module.extractor.eval()

    def parameters(self, module: nn.Module) -> Iterable[nn.Parameter]:
        """Return all but the extractor's: attention branch, merge and perception branch."""
        assert isinstance(module, StAbn), "a network of build()"
        return [*module.attention.parameters(), *module.merge.parameters(), *module.perception.parameters()]

    def losses(self, network: nn.Module, batch: Batch, settings: StepSettings) -> Mapping[str, Tensor]:
        """Return L_att + L_per + L_temp as "total", and the three as "attention", "perception" and "temporal".

        With `edits.gamma_s` a "spatial" term is added.

        All are contributions to the means over the clips of the step, those without an edit included, unless
        `edits.mean_over` says otherwise of the temporal term.
        """
        output, label_B = answer(network, batch, settings)
        assert output.temporal_B1T11 is not None, "the recipe allows no baseline"
        sums = loss_sums(output, label_B)
        target_BT, mask_BT = targets(self._edits.train, batch.ids, batch.idx_BT.numpy(), batch.valid_BT.numpy())
        temporal = self._said.gamma_t * masked_mse_sum(
            output.temporal_B1T11.flatten(1),
            torch.from_numpy(target_BT).to(settings.device),
            torch.from_numpy(mask_BT).to(settings.device),
        )
        losses = {
            "perception": sums.perception / batch.samples_in_step,
            "attention": sums.attention / batch.samples_in_step,
            "temporal": temporal / self._clips_of_mean(batch),
        }
        if self._said.gamma_s:
            assert output.spatial_B1THW is not None, "the recipe allows no baseline"
            losses["spatial"] = self._spatial(output.spatial_B1THW[:, 0], batch) / self._clips_of_mean(batch)
        return {TOTAL: torch.stack(list(losses.values())).sum(), **losses}

    def _spatial(self, spatial_BTHW: Tensor, batch: Batch) -> Tensor:
        """Return the weighted sum over clips of the mean squared error over frames with a map, and over their cells."""
        recipe, seed, epoch = self.recipe, self.recipe.train.seed, batch.epoch
        places = {
            video: place_of(row, recipe.clip, recipe.augment, self._flips, seed=seed, epoch=epoch)
            for video in batch.ids
            if (row := self._rows.get(video)) is not None
        }
        where = batch.idx_BT.numpy(), batch.valid_BT.numpy()
        size = spatial_BTHW.shape[2], spatial_BTHW.shape[3]
        target_BTHW, mask_BT = spatial_targets(self._edits.train, places, batch.ids, *where, size)
        device = spatial_BTHW.device
        square_BT = (spatial_BTHW.float() - target_BTHW.to(device)).pow(2).mean(dim=(2, 3))
        return self._said.gamma_s * masked_mean_sum(square_BT, mask_BT.to(device))

    def _clips_of_mean(self, batch: Batch) -> int:
        """Return how many clips of the step, over all workers, the terms of the edits are means over."""
        if self._said.mean_over == "samples":
            return batch.samples_in_step
        return max(1, int(self._annotated[self._plan.step(batch.step).samples].sum()))

    @cached_property
    def _annotated(self) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Whether each sample of the plan, which counts the videos by id, is of an edited video."""
        return np.array([video in self._edits.train for video in self._ids], np.bool_)

    @cached_property
    def _plan(self) -> Plan:
        train = self.recipe.train
        return Plan(train.seed, len(self._ids), train.global_batch, train.epochs)


def masked_mse_sum(output_BT: Tensor, target_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Return the sum over clips of each clip's mean squared error over its masked frames; float32 scalar.

    Args:
        output_BT: temporal attention after the sigmoid; keeps its graph, though all of the mask be False, so that a
            worker without an edited clip takes part in the exchange of gradients.
        target_BT: what it should be.
        mask_BT: bool, where that is known.
    """
    return masked_mean_sum((output_BT.float() - target_BT) ** 2, mask_BT)


def masked_mean_sum(values_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Return the sum over clips of each clip's mean over its masked frames, 0 for a clip without one."""
    kept_BT = torch.where(mask_BT, values_BT, 0.0)
    return (kept_BT.sum(dim=1) / mask_BT.sum(dim=1).clamp(min=1)).sum()
