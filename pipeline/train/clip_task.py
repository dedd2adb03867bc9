"""The task of ST-ABN and its baseline: clips of videos, a class each, L_att + L_per."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import nn

from models import Baseline, StAbn, build_model
from pipeline.train.device import autocast, to_model_input
from pipeline.train.losses import loss_sums
from pipeline.train.recipe import Recipe
from pipeline.train.task import TOTAL, VIDEOS, StepSettings, Validation

if TYPE_CHECKING:
    from models.outputs import StAbnOutput
    from pipeline.data.feed.batches import Batch


class ClipTask:
    """Trains a network of `models.build_model`, all of it.

    Args:
        recipe: names network, first weights and memory format.
    """

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe

    @property
    def memory_format(self) -> torch.memory_format:
        """channels_last_3d where the recipe says so."""
        return torch.channels_last_3d if self._recipe.train.channels_last else torch.contiguous_format

    def build(self) -> nn.Module:
        """Return the network with randomly drawn weights."""
        return build_model(self._recipe.model)

    def check_first_weights(self) -> None:
        """Try in the driver what every worker will do.

        Raises:
            UserError: the weights cannot be read, or belong to another network.
        """
        if self._recipe.init.source != "random":
            self.first_weights(self.build(), log=False)

    def first_weights(self, module: nn.Module, *, log: bool) -> None:
        """Give a freshly built network ImageNet's inflated or published weights, or leave its random ones.

        Raises:
            UserError: the weights cannot be read, or belong to another network.
        """
        from pipeline.train.weights import first_weights  # reads object stores: a step alone needs no such library

        assert isinstance(module, (Baseline, StAbn)), "a network of build()"
        first_weights(module, self._recipe.init, log=log)

    def train_mode(self, module: nn.Module) -> None:
        """Nothing is frozen."""
        module.train()

    def parameters(self, module: nn.Module) -> Iterable[nn.Parameter]:
        """Return all of them."""
        return module.parameters()

    def losses(self, network: nn.Module, batch: Batch, settings: StepSettings) -> Mapping[str, torch.Tensor]:
        """Return L_att + L_per as "total", L_per as "perception", and of ST-ABN L_att as "attention".

        All are means over the clips of the step.
        """
        output, label_B = answer(network, batch, settings)
        sums = loss_sums(output, label_B)
        losses = {TOTAL: sums.total(), "perception": sums.perception}
        if output.att_logits_BK is not None:
            losses["attention"] = sums.attention
        return {name: value / batch.samples_in_step for name, value in losses.items()}

    def count(self, module: nn.Module, batch: Batch, settings: StepSettings) -> Mapping[str, torch.Tensor]:
        """Return hits of both branches among the highest 1 and 5 logits, and the summed loss."""
        output, label_B = answer(module, batch, settings)
        return self.counted(output, label_B)

    def counted(self, output: StAbnOutput, label_B: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the sums of `count` for what the network said."""
        sums = {
            VIDEOS: torch.tensor(len(label_B), device=label_B.device),
            "top1": correct_at(output.logits_BK, label_B, 1),
            "top5": correct_at(output.logits_BK, label_B, 5),
            "loss": loss_sums(output, label_B).total(),
        }
        if output.att_logits_BK is not None:
            sums["att_top1"] = correct_at(output.att_logits_BK, label_B, 1)
            sums["att_top5"] = correct_at(output.att_logits_BK, label_B, 5)
        return sums

    def summarise(self, sums: Mapping[str, float], videos: int) -> Validation:
        """Return accuracies in percent and the mean loss; top-1 ranks checkpoints."""
        metrics = {
            name: 100.0 * sums[name] / videos for name in ("top1", "top5", "att_top1", "att_top5") if name in sums
        }
        shown = {"top-1": metrics["top1"], "top-5": metrics["top5"]}
        return Validation(metrics | {"loss": sums["loss"] / videos}, metrics["top1"], metrics["top1"], shown)


def correct_at(logits_BK: torch.Tensor, label_B: torch.Tensor, k: int) -> torch.Tensor:
    """Return how many labels are among the k highest logits (all classes when there are fewer than k), int64 scalar."""
    top_BJ = logits_BK.float().topk(min(k, logits_BK.shape[1]), dim=1).indices
    return (top_BJ == label_B[:, None]).any(dim=1).sum()


def answer(network: nn.Module, batch: Batch, settings: StepSettings) -> tuple[StAbnOutput, torch.Tensor]:
    """Return what the network says about a batch, and the labels on its device."""
    x_BCTHW = to_model_input(batch.x_BTHWC, settings.device, settings.precision, settings.channels_last)
    label_B = batch.label_B.to(settings.device, non_blocking=True)
    with autocast(settings.device, settings.precision):
        output: StAbnOutput = network(x_BCTHW)
    return output, label_B
