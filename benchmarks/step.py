#!/usr/bin/env python3
"""Cost of one training step on this machine's accelerator, and of the options that change it.

    python benchmarks/step.py [--depth 50] [--batch 8] [--rounds 3]

The variants run in turn, round after round, so a drifting clock hurts them alike; each line gives the median and its
ratio to the first variant. Needs torch and numpy alone. On a machine without a GPU it runs a small network instead,
and says so: those figures only show that the benchmark works.
"""

import argparse
import platform
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import torch

from models import ModelConfig, build_model
from pipeline.data.config import ClipConfig
from pipeline.train.clip_task import ClipTask
from pipeline.train.recipe import Recipe
from pipeline.train.step import train_step
from pipeline.train.task import StepSettings

VIDEOS_SSV2 = 168_913
EPOCHS = 150


@dataclass(frozen=True)
class Variant:
    """One way to run the step."""

    name: str
    model: ModelConfig
    precision: str = "bf16"
    channels_last: bool = True
    compile: bool = False


@dataclass(frozen=True)
class RandomBatch:
    """Random frames in the shape of the feed's batches; the step and its task read only these fields."""

    x_BTHWC: torch.Tensor
    label_B: torch.Tensor
    ids: tuple[str, ...]
    step: int
    epoch: int
    micro: int
    samples_in_step: int


class Runner:
    """A variant with its network, optimiser and batch on the device."""

    def __init__(self, variant: Variant, batch: int, size: int, device: torch.device) -> None:
        torch.manual_seed(0)
        self.variant, self.batch, self.device = variant, batch, device
        clip = ClipConfig(frames=variant.model.frames, size=size, short_side=size)
        self.task = ClipTask(Recipe(name=variant.name, clip=clip, model=variant.model))
        network = build_model(variant.model).to(device).train()
        if variant.channels_last:
            network = network.to(memory_format=torch.channels_last_3d)
        if variant.compile:
            network.compile()
        self.network = network
        self.optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, nesterov=True)
        self.settings = StepSettings(device, variant.precision, variant.channels_last, 1, 20.0, 0, 0, 1)  # type: ignore[arg-type]
        shape = (batch, variant.model.frames, size, size, 3)
        self.example = RandomBatch(
            torch.randint(0, 256, shape, dtype=torch.uint8),
            torch.randint(0, variant.model.classes, (batch,)),
            tuple(map(str, range(batch))),
            0,
            0,
            0,
            batch,
        )

    def endless(self) -> Iterator[RandomBatch]:
        """Yield the same batch for ever."""
        while True:
            yield self.example

    def seconds(self, steps: int) -> float:
        """Return the mean seconds of a step over `steps` steps."""
        batches = self.endless()
        self._wait()
        start = time.perf_counter()
        for _ in range(steps):
            train_step(self.task, self.network, self.optimizer, batches, 0.01, self.settings)
        self._wait()
        return (time.perf_counter() - start) / steps

    def peak_gib(self) -> float:
        """Return the peak memory of one more step, GiB; 0 on CPU."""
        if self.device.type != "cuda":
            return 0.0
        torch.cuda.reset_peak_memory_stats()
        self.seconds(1)
        return torch.cuda.max_memory_allocated() / 2**30

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def variants(base: ModelConfig, compiled: bool) -> list[Variant]:
    """List what is compared; the first is the reference."""
    st_abn = Variant("st_abn bf16 channels_last", base)
    plain = Variant("baseline bf16 channels_last", replace(base, arch="baseline"))
    found = [
        st_abn,
        replace(st_abn, name="st_abn bf16 contiguous", channels_last=False),
        replace(st_abn, name="st_abn fp32 channels_last", precision="fp32"),
        replace(st_abn, name="st_abn bf16 checkpointing", model=replace(base, activation_checkpointing=True)),
        plain,
    ]
    if compiled:
        found += [
            replace(st_abn, name="st_abn bf16 channels_last compile", compile=True),
            replace(plain, name="baseline bf16 channels_last compile", compile=True),
        ]
    return found


def main() -> None:
    """Run the rounds and print one line a variant."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--depth", type=int, default=50, choices=(50, 101))
    parser.add_argument("--batch", type=int, default=8, help="clips a step on this device (the papers: 8 a GPU)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=8, help="steps of one measurement")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out (it takes minutes)")
    args = parser.parse_args()

    gpu = torch.cuda.is_available()
    device = torch.device("cuda" if gpu else "cpu")
    if gpu:
        torch.backends.cudnn.benchmark = True
        model, batch, size = ModelConfig(depth=args.depth), args.batch, 224
    else:
        model, batch, size = ModelConfig(depth=10, width=8, classes=8, frames=4), 2, 32
        print("no GPU here: a tiny network on CPU, whose figures say nothing about the recipes")
    where = torch.cuda.get_device_name() if gpu else platform.processor() or platform.machine()
    print(
        f"{datetime.now(UTC):%Y-%m-%d}, {where}, torch {torch.__version__}, batch {batch}, {model.frames}x{size}x{size}"
    )

    runners = [Runner(v, batch, size, device) for v in variants(model, gpu and not args.no_compile)]
    seconds: dict[str, list[float]] = {r.variant.name: [] for r in runners}
    for runner in runners:
        runner.seconds(2)  # warm-up: kernel selection, compilation
    for _ in range(args.rounds):
        for runner in runners:
            seconds[runner.variant.name].append(runner.seconds(args.steps))

    reference = seconds[runners[0].variant.name]
    for runner in runners:
        mine = seconds[runner.variant.name]
        ratio = statistics.median(b / a for a, b in zip(mine, reference, strict=True))
        rate = batch / statistics.median(mine)
        line = (
            f"{runner.variant.name:36s} {1000 * statistics.median(mine):8.1f} ms/step {rate:7.1f} clips/s x{ratio:4.2f}"
        )
        if gpu:
            hours = VIDEOS_SSV2 * EPOCHS / rate / 3600
            line += f"  peak {runner.peak_gib():5.1f} GiB  SSv2, {EPOCHS} epochs: {hours:5.0f} GPU h"
        print(line)


if __name__ == "__main__":
    main()
