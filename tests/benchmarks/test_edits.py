"""The study of edits does what fine-tuning does, on features that were computed once."""

import re
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from benchmarks import edits
from pipeline.annotate.batches import BatchRow, write_batch
from pipeline.annotate.simulate import levels_of
from pipeline.core import storage
from pipeline.data.feed.clips import load_clip
from pipeline.data.store.prepared import PreparedDataset
from pipeline.data.store.shards import read_video
from pipeline.eval.load import load
from pipeline.finetune.edits import read_edits


@pytest.fixture
def asked(tiny_root, tiny_checkpoint, tmp_path):
    """Arguments for the tiny network, one edited video, and a truth; returns them with the active frames."""
    dataset = PreparedDataset.open(tiny_root)
    videos = [*dataset.videos("train"), *dataset.videos("validation")]
    active = {video.id: np.arange(video.frames) < video.frames // 2 for video in videos}
    columns = {"id": list(active), "active": [active_V.tolist() for active_V in active.values()]}
    pq.write_table(pa.table(columns), tmp_path / "truth.parquet")
    video = dataset.videos("train")[0]
    said = BatchRow(
        video_id=video.id,
        dataset="folder",
        label=video.label,
        num_frames=video.frames,
        fps=12.0,
        scores=tuple(levels_of(active[video.id]).tolist()),
        source=(0,) * video.frames,
        init="blank",
        annotators=("p",),
        n_annotators=1,
        kappa=None,
        decision="single",
        model_version_shown="m",
        editor_version="1",
        submitted_at=1.0,
        seconds_spent=1.0,
    )
    batch = storage.join(str(tmp_path), write_batch(str(tmp_path), [said], {})["batch"])
    return ["--run", tiny_checkpoint, "--batches", batch, "--truth", str(tmp_path / "truth.parquet")], batch, active


def test_the_branches_answer_from_features_as_the_network_does_from_frames(asked, tiny_root, tiny_checkpoint):
    _, batch, active = asked
    network, videos = load(tiny_checkpoint), PreparedDataset.open(tiny_root).videos("validation")
    clips = [load_clip(read_video(tiny_root, v.shard, v.row), network.recipe.clip) for v in videos]
    found = edits.features(network, clips, read_edits([batch]), active)
    x_BTHWC = np.stack([clip.x_THWC for clip in clips])
    expected = network.answer(x_BTHWC)
    with torch.inference_mode():
        logits_BK, att_logits_BK, temporal_BT = edits.forward(network.model, found.f_NCTHW, None)
        given_BK, _, used_BT = edits.forward(network.model, found.f_NCTHW, found.true_NT)
    np.testing.assert_allclose(logits_BK, expected.logits_BK, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(att_logits_BK, expected.att_logits_BK, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(temporal_BT, expected.temporal_BT, rtol=1e-4, atol=1e-5)
    assert torch.equal(used_BT, found.true_NT)
    assert not torch.allclose(given_BK, logits_BK)
    assert not found.mask_NT.any()  # nobody said anything of validation videos


def test_a_large_gamma_teaches_what_was_said_and_the_extractor_stays(asked, tiny_root, tiny_checkpoint):
    _, batch, active = asked
    network, dataset = load(tiny_checkpoint), PreparedDataset.open(tiny_root)
    clips = [load_clip(read_video(tiny_root, v.shard, v.row), network.recipe.clip) for v in dataset.videos("train")]
    found = edits.features(network, clips, read_edits([batch]), active)
    optim = edits.OptimConfig(lr=0.05, reference_batch=0, weight_decay=0.0)
    shared = {"given": False, "batch": 4, "count": 60}
    distance = {}
    for gamma in (0.0, 30.0):
        model = edits.train(network, [found], optim, 0, gamma=gamma, **shared)
        with torch.no_grad():
            _, _, temporal_NT = edits.forward(model, found.f_NCTHW, None)
        distance[gamma] = float(((temporal_NT - found.target_NT) ** 2)[found.mask_NT].mean())
        for key, value in model.extractor.state_dict().items():
            assert torch.equal(value, network.model.extractor.state_dict()[key]), key
    assert distance[30.0] < 0.5 * distance[0.0]


def test_the_table_has_a_line_for_every_kind(asked, monkeypatch, capsys):
    arguments, _, _ = asked
    options = ["--seeds", "2", "--epochs", "1", "--draws", "2", "--gamma", "3", "10", "--lr", "0.01"]
    monkeypatch.setattr(sys, "argv", ["edits.py", *arguments, *options])
    edits.main()
    printed = capsys.readouterr().out
    assert "7 test videos" in printed
    names = re.findall(r"^(before|before, given|control|gamma 3|gamma 10|given) +\d", printed, re.M)
    assert names == ["before", "before, given", "control", "gamma 3", "gamma 10", "given"]
    control = next(line for line in printed.splitlines() if line.startswith("control"))
    assert control.split()[-6:] == ["+0.0", "+-", "0.0", "+0.0", "+-", "0.0"]
