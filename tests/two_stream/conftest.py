"""Two dozen real videos in UCF-101's layout with their flow, and a recipe small enough for them."""

import shutil
from dataclasses import replace

import pytest
import torch

from pipeline.core import storage
from pipeline.core.config import to_dict
from pipeline.data.config import DataConfig
from pipeline.data.listing.sources import load_listing
from pipeline.data.prepare.ingest import IngestConfig
from pipeline.data.prepare.run import PrepareConfig, in_process, prepare
from pipeline.data.store.prepared import PreparedDataset
from pipeline.data.synth.config import SynthConfig
from pipeline.data.synth.generate import SynthRequest, make
from pipeline.flow import extract
from pipeline.flow.config import FlowConfig
from pipeline.flow.solver import Solver
from pipeline.flow.tvl1 import TvL1Config
from pipeline.train import checkpoint
from pipeline.train.recipe import ComputeConfig, TrainConfig
from pipeline.two_stream.extract import MapJob, extract_maps
from pipeline.two_stream.extract import in_process as extract_in_process
from pipeline.two_stream.networks import digest_of
from pipeline.two_stream.pairs import PairedData
from pipeline.two_stream.recipe import (
    AttentionConfig,
    MapsConfig,
    NetworkConfig,
    PairConfig,
    Round,
    StreamPart,
    TwoStreamRecipe,
)
from pipeline.two_stream.samples import STREAMS
from pipeline.two_stream.stages import Places, attention_recipe, stages, stream_recipe
from pipeline.two_stream.system import publish_system
from pipeline.two_stream.tasks import AttentionTask, StreamTask

CLASSES = 2


@pytest.fixture(scope="session")
def pair_roots(tmp_path_factory):
    """24 videos of 5 to 12 frames, 16 for training; returns the roots of frames and flow. Not to be changed."""
    folder = tmp_path_factory.mktemp("pairs")
    config = SynthConfig(
        train=18, validation=6, test=0, classes=CLASSES, frames=(5, 12), widths=(80, 96), heights=(64,), distractors=0
    )
    make(folder / "videos", SynthRequest("ucf101", config, seed=3), workers=1)
    listing = load_listing("ucf101", str(folder / "videos"))
    settings = PrepareConfig(ingest=IngestConfig(short_side=64, compare=False), shard_videos=7)
    prepare(listing, str(folder / "frames"), settings, in_process)
    quick = FlowConfig(tvl1=TvL1Config(scales=2, warps=1, inner_iterations=5, outer_iterations=1), bound=8.0)
    prepared, options = PreparedDataset.open(str(folder / "frames")), extract.ExtractOptions(backends=("opencv",))
    extract.extract(prepared, str(folder / "flow"), quick, extract.in_process(Solver("opencv")), options)
    yield str(folder / "frames"), str(folder / "flow")
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def paired(pair_roots):
    return PairedData.open(*pair_roots)


@pytest.fixture(scope="session")
def tiny(pair_roots):
    """A system of two short rounds for these videos: 75 pixels, an eighth of the channels, stacks of three flows."""
    frames, flow = pair_roots
    part = StreamPart(dropout=0.0)
    part = replace(part, optim=replace(part.optim, lr=0.02))
    return TwoStreamRecipe(
        name="tiny",
        data=DataConfig(root=frames, test_split="test"),
        flow_root=flow,
        pair=PairConfig(short_side=80),
        network=NetworkConfig(classes=CLASSES, flow_stack=3, size=75, width=0.125),
        spatial=part,
        temporal=part,
        rounds=(Round(epochs=1), Round(epochs=1)),
        maps=MapsConfig(stride=2, batch=5),
        attention=AttentionConfig(hidden=8, epochs=2),
        train=TrainConfig(global_batch=8, log_every=1, checkpoint_minutes=60),
        compute=ComputeConfig(data_cpus=0),
    )


class MapsOf:
    """First-round maps of untrained streams."""

    def __init__(self, folder, tiny):
        self.folder, self.places, self.checkpoints = folder, Places(str(folder), "x"), {}
        for number, stream in enumerate(STREAMS):
            stage = next(stage for stage in stages(tiny) if stage.name == f"r1-{stream}")
            recipe = stream_recipe(tiny, stage, self.places, flow_root=tiny.flow_root, checkpoint="")
            self.checkpoints[stream] = write_checkpoint(folder / f"net-{stream}", recipe, number)
            job = MapJob(
                root=self.places.folder(f"r1-{stream}-maps"),
                recipe=recipe,
                checkpoint=self.checkpoints[stream],
                stride=tiny.maps.stride,
                batch=tiny.maps.batch,
            )
            extract_maps(job, extract_in_process)


def write_checkpoint(folder, recipe, seed=0, model=None):
    """Write a checkpoint of a stream with random weights; returns its folder as text."""
    torch.manual_seed(seed)
    data = PairedData.open(recipe.data.root, recipe.flow_root)
    identity = data.identity()
    net = model or StreamTask(recipe).build()
    # Statistics and a last layer of some size, as a trained network has: maps differ from place to place then.
    generator = torch.Generator().manual_seed(seed)
    for name, value in net.state_dict().items():
        if name.endswith("running_mean"):
            value.copy_(0.1 * torch.randn(value.shape, generator=generator))
        elif name.endswith("fc.weight"):
            value.copy_(torch.randn(value.shape, generator=generator))
    snapshot = checkpoint.Snapshot(
        step=2,
        reason="epoch",
        model=net.state_dict(),
        optimizer={},
        recipe=to_dict(recipe),
        plan={"seed": 0, "samples": 16, "global_batch": 8, "epochs": 1},
        passport=identity.digest,
        passport_parts=dict(identity.parts),
        classes=data.prepared.classes,
        mlflow_run_id="",
    )
    checkpoint.write(str(folder), snapshot)
    return str(folder)


@pytest.fixture(scope="session")
def maps_of(tiny, tmp_path_factory):
    """Maps of both streams, their checkpoints and places."""
    return MapsOf(tmp_path_factory.mktemp("maps"), tiny)


@pytest.fixture(scope="session", name="write_checkpoint")
def write_checkpoint_fixture():
    return write_checkpoint


@pytest.fixture(scope="session")
def random_system(tiny, paired, tmp_path_factory):
    """A system as its training leaves it, but for weights drawn at random, such that its classes differ."""
    root = tmp_path_factory.mktemp("random") / "runs"
    return make_system(str(root), "random", tiny, paired)


def make_system(root, name, recipe, data):
    """Write a checkpoint of random weights for every stage of a recipe, and the system that they form."""
    where, checkpoints = Places(root, name), {}
    for seed, stage in enumerate(stages(recipe)):
        if stage.kind == "maps":
            continue
        make = attention_recipe if stage.kind == "attention" else stream_recipe
        run = make(recipe, stage, where, flow_root=data.flow.root, checkpoint="somewhere")
        torch.manual_seed(seed)
        net = (AttentionTask if stage.kind == "attention" else StreamTask)(run).build()
        for weights in net.parameters():
            # Batch norm keeps the scale; larger classifiers and maps make differences that tests can see.
            torch.nn.init.normal_(weights, std=0.3) if weights.dim() == 2 else None
        folder = storage.join(root, where.run(stage.name), "step-00000001")
        checkpoint.write(folder, snapshot_of(run, net, data))
        checkpoints[stage.name] = (folder, digest_of(folder))
    return publish_system(root, name, recipe, checkpoints, data)


def snapshot_of(run, net, data):
    identity = data.identity()
    return checkpoint.Snapshot(
        step=1,
        reason="epoch",
        model=net.state_dict(),
        optimizer={},
        recipe=to_dict(run),
        plan={"seed": 0, "samples": 1, "global_batch": 1, "epochs": 1},
        passport=identity.digest,
        passport_parts=dict(identity.parts),
        classes=data.prepared.classes,
        mlflow_run_id="",
    )


@pytest.fixture(scope="session", name="make_system")
def make_system_fixture():
    return make_system
