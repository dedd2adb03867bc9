"""The loop with the spatial layer, by its commands: mined, annotated by programs who point, fine-tuned, measured."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from jobs import finetune_edits, mine_misclassified, simulate_annotators
from jobs.cli import guarded
from models import build_model
from models.config import ModelConfig
from pipeline.annotate.batches import read_batch
from pipeline.annotate.campaign import read_campaign
from pipeline.annotate.simulate import cells_of
from pipeline.core.config import to_dict
from pipeline.data.config import AugmentConfig, ClipConfig, DataConfig
from pipeline.data.listing.sources import load_listing
from pipeline.data.prepare.ingest import IngestConfig
from pipeline.data.prepare.run import PrepareConfig, in_process, prepare
from pipeline.data.store.prepared import PreparedDataset
from pipeline.data.synth.config import SynthConfig
from pipeline.data.synth.generate import SynthRequest, make
from pipeline.train import checkpoint
from pipeline.train.recipe import ComputeConfig, OptimConfig, Recipe, TrainConfig

ROOT = Path(__file__).parents[2]
pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,  # two trainings, three evaluations
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Synthetic videos of one large object, prepared, and an untrained network; folder, and the checkpoint's."""
    folder = tmp_path_factory.mktemp("spatial")
    calm = {"distractors": 0, "shake": 0.0, "clutter": 5.0, "radius": (0.25, 0.32), "widths": (64,), "heights": (64,)}
    config = SynthConfig(train=32, validation=12, test=0, classes=4, frames=(10, 16), **calm)
    make(folder / "videos", SynthRequest("ssv2", config), workers=2)
    listing = load_listing("ssv2", str(folder / "videos"))
    settings = PrepareConfig(ingest=IngestConfig(short_side=64, compare=False), shard_videos=16)
    prepare(listing, str(folder / "prepared"), settings, in_process)
    dataset = PreparedDataset.open(str(folder / "prepared"))
    recipe = Recipe(
        name="base",
        data=DataConfig(root=dataset.root),
        clip=ClipConfig(frames=8, sampling="uniform", size=64, short_side=64),
        augment=AugmentConfig(area=(0.8, 1.0), ratio=(0.85, 1.18)),
        model=ModelConfig(depth=10, width=8, classes=4, frames=8, dropout=0.0),
        optim=OptimConfig(name="adam", lr=2e-3, reference_batch=0, weight_decay=0.0, schedule="cosine"),
        train=TrainConfig(epochs=1, global_batch=8),
        compute=ComputeConfig(data_cpus=0),
    )
    torch.manual_seed(0)
    snapshot = checkpoint.Snapshot(
        step=1,
        reason="epoch",
        model=build_model(recipe.model).state_dict(),
        optimizer={},
        recipe=to_dict(recipe),
        plan={"seed": 0, "samples": 32, "global_batch": 8, "epochs": 1},
        passport=dataset.passport,
        passport_parts=dict(dataset.identity.parts),
        classes=dataset.classes,
        mlflow_run_id="",
    )
    checkpoint.write(str(folder / "base" / "step-00000001"), snapshot)
    return folder, str(folder / "base" / "step-00000001")


def annotated(folder, truth):
    """Serve the campaign and have it answered; returns the sealed batch's folder."""
    command = [sys.executable, "jobs/serve_annotation.py", "--campaign", str(folder / "campaign"), "--port", "0"]
    command += ["--database", str(folder / "a.db"), "--batches", str(folder / "batches"), "--invite", "Grace"]
    with subprocess.Popen([*command, "--role", "admin"], stdout=subprocess.PIPE, text=True, cwd=ROOT) as server:
        try:
            link = re.match(r"invitation for Grace \(admin\): (\S+)\n", server.stdout.readline())[1]
            assert server.stdout.readline().startswith("serving at")
            told = ["--invitation", link, "--campaign", str(folder / "campaign"), "--truth", truth]
            assert guarded(simulate_annotators.main, [*told, "--people", "3", "--errors", "0"]) == 0
        finally:
            server.terminate()
    (batch,) = (folder / "batches").iterdir()
    return str(batch)


def test_people_say_where_and_the_network_looks_there(ray_cluster, base, monkeypatch, capsys):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    folder, network = base
    truth, runs = str(folder / "videos" / "truth.parquet"), str(folder / "runs")
    mined = ["--run", network, "--storage", runs, "--out", str(folder / "campaign"), "--name", "where", "--spatial"]
    assert guarded(mine_misclassified.main, [*mined, "--below", "1.01", "--heldout-share", "0.2"]) == 0
    campaign, _ = read_campaign(str(folder / "campaign"))
    assert campaign.settings.spatial
    for item in campaign.items:
        assert item.spatial_VP.shape == (item.num_frames, 196)
        assert item.spatial_VP.min() > 0  # square videos: every cell is seen
        assert item.spatial_VP.max() < 1

    batch = annotated(folder, truth)
    known = {row["id"]: row for row in pq.read_table(truth).to_pylist()}
    rows = read_batch(batch).rows
    assert {row.video_id for row in rows} == {item.video for item in campaign.items}
    for row in rows:
        boxes, active = known[row.video_id]["boxes"], known[row.video_id]["active"]
        assert row.spatial_frames == tuple(np.flatnonzero(active).tolist())
        for frame, cells in zip(row.spatial_frames, row.spatial_maps, strict=True):
            assert list(cells) == cells_of(np.array(boxes[frame], np.float32))

    out = folder / "finetune"
    tuned = ["--run", network, "--batches", batch, "--storage", runs, "--name", "n", "--control", "--truth", truth]
    tuned += ["--out", str(out), "--gamma", "0", "--gamma-s", "30", "optim.name=adam", "optim.lr=0.01"]
    assert guarded(finetune_edits.main, [*tuned, "train.epochs=6", "train.eval_every=6"]) == 0
    found = json.loads((out / "metrics.json").read_text())
    recipe = json.loads((folder / "runs" / "n" / "run.json").read_text())["recipe"]
    assert (recipe["edits"]["gamma_t"], recipe["edits"]["gamma_s"]) == (0.0, 30.0)
    where = {name: one["where"] for name, one in found["measured"].items()}
    assert list(where) == ["before", "after", "control"]
    heldout = {row.video_id for row in rows if row.split != "train"}
    for one in where.values():
        assert one["heldout_videos"] == len(heldout) > 0
        assert one["truth"]["clips"] == 12
        assert 0.1 < one["truth"]["area"] < 0.6
    for name in ("before", "control"):
        assert where["after"]["truth"]["auc"]["value"] > where[name]["truth"]["auc"]["value"] + 0.05
        assert where["after"]["heldout_mse"]["value"] < where[name]["heldout_mse"]["value"]
    text = (out / "table.txt").read_text()
    assert "after: Spatial attention in frames of the action: AUC" in text
    assert "frames set by people, " in text
    assert "with a map)" in text
    assert text in capsys.readouterr().out
