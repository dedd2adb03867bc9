"""One of two gloo processes that share the clips of a fine-tuning: `two_ranks.py RANK FOLDER`."""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from pipeline.core.config import from_dict
from pipeline.data.feed.batches import Batch
from pipeline.finetune.recipe import FinetuneRecipe
from pipeline.finetune.task import EditTask
from pipeline.train.optim import build_optimizer
from pipeline.train.step import train_step
from pipeline.train.task import StepSettings
from pipeline.train.worker import freeze

rank, folder = int(sys.argv[1]), Path(sys.argv[2])
torch.set_num_threads(1)
dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
given = torch.load(folder / "in.pt", weights_only=True)
recipe = from_dict(FinetuneRecipe, given["recipe"])
task = EditTask(recipe)
module = task.build()
task.first_weights(module, log=False)
task.train_mode(module)
trained = freeze(task, module)
network = DistributedDataParallel(module)
module.eval()
optimizer = build_optimizer(trained, recipe.optim)
batches = iter([Batch(**share | {"ids": tuple(share["ids"])}) for share in given["shares"][rank]])
settings = StepSettings(torch.device("cpu"), "fp32", False, 1, 20.0, 0, rank, 2)
outcomes = [train_step(task, network, optimizer, batches, 0.1, settings) for _ in given["shares"][rank]]
torch.save(
    {
        "losses": [{name: float(value) for name, value in outcome.losses.items()} for outcome in outcomes],
        "norms": [outcome.grad_norm for outcome in outcomes],
        "state": module.state_dict(),
    },
    folder / f"out{rank}.pt",
)
dist.destroy_process_group()
