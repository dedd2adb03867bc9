"""What is trained: a stream, and an attention net on a trained stream's features. Nothing here imports Ray.

Source: the two-stream thesis (S3). A stream learns by cross-entropy of its segments' mean scores; an attention net by
binary cross-entropy, at every place of the features, with the Grad-CAM map of the true class as a soft target.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from models import AttentionNet, StreamNet, StreamOutput
from models.attention_maps import START_ATTENTION, crop_maps
from models.config import StreamConfig
from models.stream import to_input
from models.stream_weights import load_imagenet, read_inception
from pipeline.core.errors import UserError
from pipeline.train.clip_task import correct_at
from pipeline.train.device import autocast
from pipeline.train.task import TOTAL, VIDEOS, StepSettings, Validation
from pipeline.train.weights import local_copy
from pipeline.two_stream.networks import load_stream
from pipeline.two_stream.recipe import AttentionRecipe, StreamRecipe

if TYPE_CHECKING:
    from pipeline.two_stream.feed import StreamBatch

AUX_WEIGHT = 0.4
"""Of the auxiliary classifier's loss (Szegedy et al. 2016, and torchvision's training)."""


class StreamTask:
    """Trains one stream.

    Args:
        recipe: names network, first weights and memory format.
    """

    def __init__(self, recipe: StreamRecipe) -> None:
        self._recipe = recipe

    @property
    def memory_format(self) -> torch.memory_format:
        """channels_last where the recipe says so."""
        return torch.channels_last if self._recipe.train.channels_last else torch.contiguous_format

    def build(self) -> nn.Module:
        """Return the network with randomly drawn weights."""
        return StreamNet(self._recipe.model)

    def check_first_weights(self) -> None:
        """Try in the driver what every worker will do.

        Raises:
            UserError: the weights cannot be read, or belong to another network.
        """
        if self._recipe.init.source != "random":
            self.first_weights(self.build(), log=False)

    def first_weights(self, module: nn.Module, *, log: bool) -> None:
        """Give a freshly built network ImageNet's weights or those of the round before, or leave its random ones.

        Raises:
            UserError: the weights cannot be read, or belong to another network.
        """
        assert isinstance(module, StreamNet), "a network of build()"
        init = self._recipe.init
        if init.source == "checkpoint":
            module.load_state_dict(load_stream(init.path, self._recipe.model).state_dict())
        elif init.source == "imagenet":
            try:
                with local_copy(init.path) as path:
                    report = load_imagenet(module, read_inception(path))
            except ValueError as error:
                raise UserError(str(error)) from error
            if log:
                print(f"first weights from {init.path or 'ImageNet'}: {report}", flush=True)

    def train_mode(self, module: nn.Module) -> None:
        """The network itself keeps what `partial_bn` freezes in evaluation mode."""
        module.train()

    def parameters(self, module: nn.Module) -> Iterable[nn.Parameter]:
        """Return all but what `partial_bn` freezes."""
        assert isinstance(module, StreamNet), "a network of build()"
        frozen = {id(parameter) for norm in module.frozen_norms() for parameter in norm.parameters()}
        return [parameter for parameter in module.parameters() if id(parameter) not in frozen]

    def losses(self, network: nn.Module, batch: StreamBatch, settings: StepSettings) -> Mapping[str, Tensor]:
        """Return the cross-entropy as "total", with the auxiliary classifier's share where there is one."""
        output, label_B = self._answer(network, batch, settings)
        share = 1.0 / batch.samples_in_step
        loss = cross_entropy(output.logits_BK.float(), label_B, reduction="sum") * share
        if not self._recipe.model.aux_head:
            return {TOTAL: loss}
        assert output.aux_logits_BK is not None, "the network is in train mode"
        aux = cross_entropy(output.aux_logits_BK.float(), label_B, reduction="sum") * share
        return {TOTAL: loss + AUX_WEIGHT * aux, "classes": loss, "aux": aux}

    def count(self, module: nn.Module, batch: StreamBatch, settings: StepSettings) -> Mapping[str, Tensor]:
        """Return hits among the highest 1 and 5 scores, and the summed loss."""
        output, label_B = self._answer(module, batch, settings)
        return {
            VIDEOS: torch.tensor(len(label_B), device=settings.device),
            "top1": correct_at(output.logits_BK, label_B, 1),
            "top5": correct_at(output.logits_BK, label_B, 5),
            "loss": cross_entropy(output.logits_BK.float(), label_B, reduction="sum"),
        }

    def summarise(self, sums: Mapping[str, float], videos: int) -> Validation:
        """Return accuracies in percent and the mean loss; top-1 ranks checkpoints."""
        metrics = {name: 100.0 * sums[name] / videos for name in ("top1", "top5")}
        shown = {"top-1": metrics["top1"], "top-5": metrics["top5"]}
        return Validation(metrics | {"loss": sums["loss"] / videos}, metrics["top1"], metrics["top1"], shown)

    def _answer(self, network: nn.Module, batch: StreamBatch, settings: StepSettings) -> tuple[StreamOutput, Tensor]:
        """Return what the network says about a batch, and the labels on its device."""
        x_BGCHW = stream_input(batch, self._recipe.model, settings)
        label_B = batch.label_B.to(settings.device, non_blocking=True)
        with autocast(settings.device, settings.precision):
            output: StreamOutput = network(x_BGCHW)
        return output, label_B


class LabelFreeAttention(nn.Module):
    """A frozen stream and the attention net on its features.

    Args:
        config: the stream.
        hidden: channels inside the attention net.
        kernel: of its second convolution.
    """

    def __init__(self, config: StreamConfig, hidden: int, kernel: int) -> None:
        super().__init__()
        assert kernel in (1, 3), "checked by the recipe"
        self.stream = StreamNet(config)
        self.attention = AttentionNet(self.stream.feature_channels, hidden, 1 if kernel == 1 else 3)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return the attention net's scores of every place, before the sigmoid: logits_Nhw."""
        with torch.no_grad():
            features_NChw = self.stream.features(x_NCHW)
        return self.attention.logits(features_NChw)


class AttentionTask:
    """Trains an attention net; the stream that gives the features stays as it is.

    Args:
        recipe: names the stream's checkpoint and the attention net.
    """

    def __init__(self, recipe: AttentionRecipe) -> None:
        self._recipe = recipe

    @property
    def memory_format(self) -> torch.memory_format:
        """channels_last where the recipe says so."""
        return torch.channels_last if self._recipe.train.channels_last else torch.contiguous_format

    def build(self) -> nn.Module:
        """Return both networks with randomly drawn weights."""
        return LabelFreeAttention(self._recipe.model, self._recipe.hidden, self._recipe.kernel)

    def check_first_weights(self) -> None:
        """Read the stream's checkpoint in the driver, as every worker will.

        Raises:
            UserError: there is none, or it is another network's.
        """
        load_stream(self._recipe.checkpoint, self._recipe.model)

    def first_weights(self, module: nn.Module, *, log: bool) -> None:
        """Give the stream its trained weights; the attention net begins at random.

        Raises:
            UserError: the checkpoint cannot be read, or is another network's.
        """
        del log
        assert isinstance(module, LabelFreeAttention), "a network of build()"
        trained = load_stream(self._recipe.checkpoint, self._recipe.model)
        module.stream.load_state_dict(trained.state_dict())

    def train_mode(self, module: nn.Module) -> None:
        """Train the attention net; the stream answers as it will in tests, without dropout or batch statistics."""
        assert isinstance(module, LabelFreeAttention), "a network of build()"
        module.train()
        module.stream.eval()

    def parameters(self, module: nn.Module) -> Iterable[nn.Parameter]:
        """Return those of the attention net."""
        assert isinstance(module, LabelFreeAttention), "a network of build()"
        return module.attention.parameters()

    def losses(self, network: nn.Module, batch: StreamBatch, settings: StepSettings) -> Mapping[str, Tensor]:
        """Return the binary cross-entropy as "total": mean over the step's samples and all places."""
        return {TOTAL: self._summed(network, batch, settings) / batch.samples_in_step}

    def count(self, module: nn.Module, batch: StreamBatch, settings: StepSettings) -> Mapping[str, Tensor]:
        """Return the summed loss and number of videos."""
        videos = torch.tensor(len(batch.ids), device=settings.device)
        return {VIDEOS: videos, "bce": self._summed(module, batch, settings)}

    def summarise(self, sums: Mapping[str, float], videos: int) -> Validation:
        """Return the mean loss; the lower it is, the better the checkpoint."""
        bce = sums["bce"] / videos
        return Validation({"bce": bce}, score=-bce)

    def _summed(self, network: nn.Module, batch: StreamBatch, settings: StepSettings) -> Tensor:
        """Sum over the videos of each one's mean over places."""
        assert batch.map_BGhw is not None, "the feed of an attention net gives the maps to learn"
        x_NCHW = stream_input(batch, self._recipe.model, settings, attention=START_ATTENTION).flatten(0, 1)
        target_Nhw = batch.map_BGhw.flatten(0, 1).to(settings.device, torch.float32, non_blocking=True)
        with autocast(settings.device, settings.precision):
            logits_Nhw: Tensor = network(x_NCHW)
        return binary_cross_entropy_with_logits(logits_Nhw, target_Nhw, reduction="none").mean(dim=(1, 2)).sum()


def stream_input(
    batch: StreamBatch, config: StreamConfig, settings: StepSettings, *, attention: float | None = None
) -> Tensor:
    """Return a batch as the network takes it, x_BGCHW on the device.

    Args:
        batch: pixels, and maps where the run has some.
        config: the stream.
        settings: device, precision and memory format.
        attention: a number for every place of the attention channel, whatever maps the batch has.
    """
    x_BGHWC = batch.x_BGHWC.to(settings.device, non_blocking=True)
    channel: Tensor | float | None = None
    if config.attention_channel:
        channel = START_ATTENTION if attention is None else attention
        if attention is None and batch.map_BGhw is not None:
            map_Nhw = batch.map_BGhw.flatten(0, 1).to(settings.device, non_blocking=True)
            box_N4 = batch.box_BG4.flatten(0, 1).to(settings.device, non_blocking=True)
            channel = crop_maps(map_Nhw, box_N4, config.size).reshape(
                *batch.index_BG.shape, 1, config.size, config.size
            )
    return model_input(x_BGHWC, channel, config, settings)


def model_input(
    x_BGHWC: Tensor, attention: Tensor | float | None, config: StreamConfig, settings: StepSettings
) -> Tensor:
    """Return pixels on the device and what lies beside them as the network takes them, in the run's precision."""
    dtype = torch.bfloat16 if settings.precision == "bf16" else torch.float32
    return to_input(x_BGHWC, attention, config, dtype=dtype, channels_last=settings.channels_last)
