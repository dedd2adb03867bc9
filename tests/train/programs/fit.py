"""Train a tiny network on random clips, and strike at will: `fit.py FOLDER RUN WORKERS [section.key=value ...]`.

With PAUSE=step in the environment every worker sleeps after that step, once, so that a test can kill the driver.
Every step of every worker is traced to FOLDER/RUN.trace/RANK.jsonl. The tests also import this file as a module.
"""

import json
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from models.config import ModelConfig
from pipeline.core.config import override
from pipeline.core.errors import UserError
from pipeline.data.config import ClipConfig
from pipeline.data.feed.plan import Plan
from pipeline.data.store.catalog import CatalogRow, Passport
from pipeline.train.launch import train
from pipeline.train.recipe import ComputeConfig, OptimConfig, Recipe, TrackingConfig, TrainConfig
from pipeline.train.task import Validation

SAMPLES, VALIDATION, CLASSES, T, SIZE = 22, 7, 3, 4, 16


@dataclass
class Batch:
    x_BTHWC: torch.Tensor
    label_B: torch.Tensor
    ids: tuple
    step: int
    epoch: int
    micro: int
    samples_in_step: int


class RandomFeed:
    """Clip i is noise seeded with i, brighter with its class; a pure function of plan and position."""

    def __init__(self, recipe):
        self.recipe = recipe
        self.plan = Plan(recipe.train.seed, SAMPLES, recipe.train.global_batch, recipe.train.epochs)
        self.classes = tuple("abc")
        self.passport = Passport("p1", {"ids": "1"})
        self.rows = tuple(
            CatalogRow(id=f"v{i}", path=f"v{i}", label=i % CLASSES, split=("train",), status="readable")
            for i in range(SAMPLES)
        )
        self.validation_videos = VALIDATION
        self.sample_bytes = T * SIZE * SIZE * 3

    def _batch(self, samples, step, epoch, micro, count):
        clips = []
        for i in samples:
            rng = np.random.default_rng([int(i), epoch])
            clips.append(rng.integers(0, 100, (T, SIZE, SIZE, 3)) + 70 * (int(i) % CLASSES))
        x = torch.from_numpy(np.stack(clips).astype(np.uint8))
        label = torch.from_numpy(np.asarray(samples) % CLASSES)
        return Batch(x, label, tuple(f"v{i}" for i in samples), step, epoch, micro, count)

    def train(self, start_step, rank, world):
        for g in range(start_step, self.plan.total_steps):
            step = self.plan.step(g)
            for micro, piece in enumerate(step.pieces(rank, world, self.recipe.train.accumulate)):
                yield self._batch(piece, g, step.epoch, micro, len(step.samples))

    def validation(self, rank, world):
        rows = np.array_split(np.arange(1000, 1000 + VALIDATION), world)[rank]
        for start in range(0, len(rows), 3):
            yield self._batch(rows[start : start + 3], 0, 0, 0, 0)


class Half(torch.nn.Module):
    """An extractor with batch norm, meant to be frozen, and a head that tells how bright a clip is."""

    def __init__(self):
        super().__init__()
        self.extractor = torch.nn.Sequential(torch.nn.Conv3d(3, 4, 3), torch.nn.BatchNorm3d(4), torch.nn.ReLU())
        self.head = torch.nn.Linear(4, 1)

    def forward(self, x_BCTHW):
        return self.head(self.extractor(x_BCTHW).mean((2, 3, 4)))[:, 0]


class HalfTask:
    """No classes but soft targets, half of the network frozen, and a second loss of some of the samples alone."""

    memory_format = torch.contiguous_format

    def __init__(self, recipe):
        self.recipe = recipe

    def build(self):
        return Half()

    def check_first_weights(self):
        pass

    def first_weights(self, module, *, log):
        torch.nn.init.constant_(module.head.bias, 0.5)

    def train_mode(self, module):
        module.train()
        module.extractor.eval()

    def parameters(self, module):
        return module.head.parameters()

    def losses(self, network, batch, settings):
        bce_B = self._bce(network, batch)
        chosen_B = batch.label_B == 2
        parts = {"soft": bce_B.sum(), "chosen": (bce_B * chosen_B).sum()}
        parts["total"] = parts["soft"] + 0.5 * parts["chosen"]
        return {name: value / batch.samples_in_step for name, value in parts.items()}

    def count(self, module, batch, settings):
        return {"videos": torch.tensor(len(batch.ids)), "bce": self._bce(module, batch).sum()}

    def summarise(self, sums, videos):
        return Validation({"bce": sums["bce"] / videos}, score=-sums["bce"] / videos)

    def _bce(self, network, batch):
        x_BCTHW = batch.x_BTHWC.float().permute(0, 4, 1, 2, 3) / 255
        logits_B, target_B = network(x_BCTHW), batch.label_B / (CLASSES - 1)
        return torch.nn.functional.binary_cross_entropy_with_logits(logits_B, target_B, reduction="none")


@dataclass
class Trace:
    """Writes down what each worker did, and strikes once when told."""

    folder: str
    run: str
    kill: tuple = ()
    """(rank, step): this worker kills itself after that step."""
    pause: int = -1
    """Every worker sleeps after this step."""

    def __call__(self, outcome, rank):
        trace = Path(self.folder, f"{self.run}.trace")
        trace.mkdir(exist_ok=True)
        row = {"step": outcome.step, "epoch": outcome.epoch, "ids": list(outcome.ids), "pid": os.getpid()}
        with open(trace / f"{rank}.jsonl", "a") as file:
            file.write(json.dumps(row) + "\n")
        if self.kill == (rank, outcome.step) and self._once("killed"):
            self._await_the_last_checkpoint(outcome.step)
            os.kill(os.getpid(), signal.SIGKILL)
        if self.pause == outcome.step and self._once(f"paused{rank}"):
            self._await_the_last_checkpoint(outcome.step)
            Path(self.folder, f"{self.run}.waiting{rank}").touch()
            time.sleep(600)

    def _once(self, what):
        marker = Path(self.folder, f"{self.run}.{what}")
        if marker.exists():
            return False
        marker.touch()
        return True

    def _await_the_last_checkpoint(self, step):
        """Checkpoints come every second step; wait until Ray Train has recorded the last one before this step's end."""
        snapshot = Path(self.folder, self.run, "checkpoint_manager_snapshot.json")
        name = f"step-{step // 2 * 2:08d}"
        while not (snapshot.exists() and f'"{name}"' in snapshot.read_text()):
            time.sleep(0.05)


def recipe_for(workers):
    return Recipe(
        name="tiny",
        clip=ClipConfig(frames=T, size=SIZE, short_side=SIZE),
        model=ModelConfig(depth=10, width=4, classes=CLASSES, frames=T),
        optim=OptimConfig(lr=0.02, reference_batch=0, schedule="cosine"),
        train=TrainConfig(epochs=2, global_batch=4, log_every=2, agree_every=2, checkpoint_minutes=0.0),
        compute=ComputeConfig(workers=workers, cpus_per_worker=0.5, data_cpus=0.0, max_failures=2),
        tracking=TrackingConfig(experiment="test"),
    )


if __name__ == "__main__":
    folder, run, workers, *assignments = sys.argv[1:]
    pause = int(os.environ.get("PAUSE", "-1"))
    try:
        trained = train(
            override(recipe_for(int(workers)), assignments),
            root=folder,
            name=run,
            open_feed=RandomFeed,
            hooks=(Trace(folder, run, pause=pause),),
        )
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    print("RESULT " + json.dumps(trained.__dict__))
