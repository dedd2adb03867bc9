"""One of two gloo processes that share uneven micro-batches: `two_ranks.py RANK FOLDER CONFTEST`."""

import importlib.util
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from pipeline.train.clip_task import ClipTask
from pipeline.train.recipe import Recipe
from pipeline.train.step import train_step
from pipeline.train.task import StepSettings

rank, folder = int(sys.argv[1]), Path(sys.argv[2])
spec = importlib.util.spec_from_file_location("fixtures", sys.argv[3])
fixtures = importlib.util.module_from_spec(spec)
spec.loader.exec_module(fixtures)

dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
given = torch.load(folder / "in.pt", weights_only=True)
module = fixtures.TwoHeads()
module.load_state_dict(given["state"])
network = DistributedDataParallel(module)
module.norm.eval()
optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, nesterov=True)
batches = iter([fixtures.Batch(**share) for share in given["shares"][rank]])
task = ClipTask(Recipe(name="r"))
settings = StepSettings(torch.device("cpu"), "fp32", False, 2, 0.0, 0, rank, 2)
norms = [train_step(task, network, optimizer, batches, 0.1, settings).grad_norm for _ in range(3)]
torch.save({"norms": norms, "state": module.state_dict()}, folder / f"out{rank}.pt")
dist.destroy_process_group()
