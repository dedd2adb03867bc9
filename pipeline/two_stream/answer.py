"""A trained system on one device, answering for places of videos: with the attention it was trained for, and without.

| variant | networks    | attention channel                                  |
|---------|-------------|----------------------------------------------------|
| without | first round | 0.1 everywhere: an ordinary two-stream network     |
| with    | last round  | the other stream's map, from its attention net     |
| blind   | last round  | 0.1 everywhere: what the longer training alone did |

A system that never makes maps has "without" alone, of its last round. No label gets here.

Letters: P place, V crop, K class, H and W of a picture, C channel, h and w of a map.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models import StreamNet
from models.two_stream import view_probabilities
from pipeline.core.errors import UserError, problem
from pipeline.train.device import Precision, autocast
from pipeline.two_stream.look import Seen
from pipeline.two_stream.networks import load_stream
from pipeline.two_stream.recipe import TwoStreamRecipe, sight_of, stream_config
from pipeline.two_stream.samples import STREAMS, Pixels, Sight, Stream
from pipeline.two_stream.stages import unaided_stage
from pipeline.two_stream.system import System
from pipeline.two_stream.views import Crops, Picture, crop

Variant = Literal["without", "with", "blind"]
VARIANTS: tuple[Variant, ...] = ("without", "with", "blind")

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Answer:
    """What a system says about some places, on the host."""

    probabilities: Mapping[tuple[Variant, Stream], FloatArray]
    """P,K, mean over the crops."""
    maps: Mapping[Stream, FloatArray]
    """P,h,w of whole frames: S under "spatial", T under "temporal"; empty without the variant "with"."""


def variants_of(recipe: TwoStreamRecipe) -> tuple[Variant, ...]:
    """Return what a system can be asked: a baseline, or one with a single round, knows no maps."""
    return VARIANTS if recipe.network.attention_channel and len(recipe.rounds) > 1 else ("without",)


class Answerer:
    """The networks of a system.

    Args:
        system: a trained one.
        variants: to answer.
        crops: of every place.
        gpu: put them on this process's GPU.
        precision: None is the precision that it was trained with.
        threads: torch threads of this process; None leaves them as they are.
        at_once: crops that go through a network together.

    Raises:
        UserError: a checkpoint that is not the system's any more, or no GPU although one is asked for.
    """

    def __init__(
        self,
        system: System,
        variants: Sequence[Variant],
        crops: Crops = 1,
        *,
        gpu: bool = False,
        precision: Precision | None = None,
        threads: int | None = None,
        at_once: int = 64,
    ) -> None:
        if gpu and not torch.cuda.is_available():
            fix = "leave --gpu away, or run where torch.cuda.is_available()"
            raise UserError(problem("A GPU was asked for", got="no CUDA device", allowed="a CUDA device", fix=fix))
        if threads is not None:
            torch.set_num_threads(threads)
        train = system.recipe.train
        self._device = torch.device("cuda", torch.cuda.current_device()) if gpu else torch.device("cpu")
        self._precision: Precision = precision or train.precision
        self._layout: dict[str, Any] = {
            "dtype": torch.bfloat16 if self._precision == "bf16" else torch.float32,
            "channels_last": train.channels_last,
        }
        self._crops, self._at_once = crops, at_once
        self._two = system.two_stream() if {"with", "blind"} & set(variants) else None
        self.plain: dict[Stream, StreamNet] = {}
        if "without" in variants:
            self.plain = {stream: self._first_net(system, stream) for stream in STREAMS}
        for net in (self._two, *self.plain.values()):
            if net is not None:
                net.to(self._device)
                if train.channels_last:
                    net.to(memory_format=torch.channels_last)
        if self._two is not None:
            self._two.at_once = at_once
        self._variants = tuple(variants)
        self._sights: dict[Stream, Sight] = {s: sight_of(stream_config(system.recipe, s)) for s in STREAMS}

    def _first_net(self, system: System, stream: Stream) -> StreamNet:
        """Return the network that is asked without maps, which may be in the system already."""
        if self._two is not None and system.recipe.attention.source == "first":
            return self._two.first_spatial if stream == "spatial" else self._two.first_temporal
        return load_stream(system.checkpoint(unaided_stage(system.recipe, stream)))

    @torch.inference_mode()
    def answer(self, seen: Sequence[Seen]) -> Answer:
        """Answer for some places.

        Args:
            seen: frames and flow of each, of one size or of several.
        """
        x: dict[Stream, Tensor] = {}
        whole: dict[Stream, Tensor] = {}
        box: dict[Stream, Tensor] = {}
        for stream in STREAMS:
            pictures: list[Picture] = [one.spatial if stream == "spatial" else one.temporal for one in seen]
            cut = [crop(picture.resized_HWC, self._sights[stream], self._crops) for picture in pictures]
            x[stream] = self._tensor(np.stack([x_VHWC for x_VHWC, _ in cut]))
            whole[stream] = self._tensor(np.stack([picture.whole_HWC for picture in pictures])[:, None])
            box[stream] = torch.from_numpy(np.stack([region_V4 for _, region_V4 in cut])).to(self._device)
        found: dict[tuple[Variant, Stream], Tensor] = {}
        maps: dict[Stream, FloatArray] = {}
        with autocast(self._device, self._precision):
            if self._two is not None and "with" in self._variants:
                output = self._two(
                    x["spatial"],
                    x["temporal"],
                    whole_rgb_BGHWC=whole["spatial"],
                    whole_flow_BGHWC=whole["temporal"],
                    box_BG4=box["spatial"],
                    flow_box_BG4=box["temporal"],
                    **self._layout,
                )
                found["with", "spatial"], found["with", "temporal"] = output.spatial_BK, output.temporal_BK
                maps["spatial"] = _host(output.spatial_map_BGhw[:, 0])
                maps["temporal"] = _host(output.temporal_map_BGhw[:, 0])
            for stream in STREAMS:
                if stream in self.plain:
                    found["without", stream] = self._alone(self.plain[stream], x[stream])
                if self._two is not None and "blind" in self._variants:
                    net = self._two.spatial if stream == "spatial" else self._two.temporal
                    found["blind", stream] = self._alone(net, x[stream])
        return Answer({key: _host(value) for key, value in found.items()}, maps)

    def _alone(self, net: StreamNet, x_PVHWC: Tensor) -> Tensor:
        """Return probabilities_PK of a stream that is shown no map."""
        return view_probabilities(net, x_PVHWC, at_once=self._at_once, **self._layout).mean(dim=1)

    def _tensor(self, x_PVHWC: Pixels) -> Tensor:
        return torch.from_numpy(x_PVHWC).to(self._device, non_blocking=True)


def _host(tensor: Tensor) -> FloatArray:
    found: FloatArray = tensor.float().cpu().numpy()
    return found
