"""The fine-tuning job from its command line to its table, with the control beside it."""

import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from mlflow import MlflowClient

from jobs.cli import guarded
from jobs.finetune_edits import main
from pipeline.annotate.batches import BatchRow, write_batch
from pipeline.core import storage
from pipeline.core.errors import UserError
from pipeline.eval.load import load
from pipeline.registry.locate import find_checkpoint
from pipeline.train import checkpoint

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore:.*noload:DeprecationWarning"),
]


def sealed(folder):
    shared = {"dataset": "folder", "fps": 12.0, "init": "blank", "annotators": ("p",), "n_annotators": 1, "kappa": None}
    shared |= {"decision": "single", "model_version_shown": "m", "editor_version": "1", "seconds_spent": 1.0}
    rows = [
        BatchRow(
            **shared,
            video_id=video,
            label=label,
            num_frames=frames,
            scores=tuple(float(t >= frames // 2) for t in range(frames)),
            source=(0,) * frames,
            submitted_at=1.0,
            split=split,
        )
        for video, label, frames, split in (("train-0", 0, 12, "train"), ("train-1", 1, 9, "heldout_edit"))
    ]
    return storage.join(str(folder), write_batch(str(folder), rows, {})["batch"])


@pytest.mark.ray
def test_a_fine_tuning_is_compared_with_its_base_and_its_control(
    ray_cluster, tiny_checkpoint, tmp_path, capsys, monkeypatch
):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    truth, out, runs = tmp_path / "truth.parquet", tmp_path / "out", tmp_path / "runs"
    ids = [f"validation-{i}" for i in range(2, 9)]
    pq.write_table(pa.table({"id": ids, "active": [[t % 2 == 0 for t in range(20)]] * 7}), truth)
    arguments = ["--run", tiny_checkpoint, "--batches", sealed(tmp_path / "batches"), "--storage", str(runs)]
    arguments += ["--name", "n", "--control", "--truth", str(truth), "--out", str(out), "compute.data_cpus=0"]
    arguments += ["--register", "star-tiny", "--explanations", "1"]
    assert guarded(main, [*arguments, "optim.lr=0.05", "train.epochs=4", "edits.gamma_t=30"]) == 0

    printed = capsys.readouterr().out
    text, found = (out / "table.txt").read_text(), json.loads((out / "metrics.json").read_text())
    assert text in printed
    assert "1 edited videos to train on (12 frames set by people), 1 held out" in text
    assert found["edited_classes"] == [0, 1]
    assert list(found["networks"]) == ["before", "after", "control"]
    for name, network in found["networks"].items():
        answers = pq.read_table(out / f"predictions-{name}.parquet")
        assert b"stride 1 (dense)" in answers.schema.metadata[b"star.protocol"]
        rows = answers.to_pylist()
        plain = [row for row in rows if row["inversion"] == "none"]
        right = [int(np.argmax(row["scores"])) == row["label"] for row in plain]
        edited = [hit for hit, row in zip(right, plain, strict=True) if row["label"] in (0, 1)]
        assert (network["groups"]["all"]["hits"], network["groups"]["all"]["videos"]) == (sum(right), 7)
        assert (network["groups"]["edited"]["hits"], network["groups"]["edited"]["videos"]) == (
            sum(edited),
            len(edited),
        )
        assert found["measured"][name]["heldout_videos"] == 1
        assert found["measured"][name]["truth"]["clips"] == 7
        judged = found["measured"][name]["explanations"]
        assert (judged["clips"], list(judged["methods"])) == (1, ["attention", "grad_cam", "random"])
        assert f"{judged['methods']['attention']['pixels_deletion']['area']['value']:.3f} (" in text
    assert {path.name for path in out.glob("strip-*.png")} == {"strip-1.png", "strip-2.png", "strip-3.png"}

    base = checkpoint.read(tiny_checkpoint).model
    for name in ("n", "n-control"):
        snapshot = checkpoint.read(find_checkpoint(name, str(runs), "last"))
        for key, value in snapshot.model.items():
            if key.startswith("extractor."):
                assert torch.equal(value, base[key]), key
        assert len(snapshot.optimizer["state"]) < len(list(load(tiny_checkpoint).model.parameters()))
    assert snapshot.recipe["edits"]["gamma_t"] == 0.0
    edits = json.loads((runs / "n" / "run.json").read_text())["recipe"]["edits"]
    assert (edits["gamma_t"], edits["base"]) == (30.0, tiny_checkpoint)

    uri, run_id = re.search(r"run      n, MLflow (\w+) at (\S+)", printed).group(2, 1)
    logged = MlflowClient(uri).get_run(run_id).data.metrics
    area = found["measured"]["control"]["explanations"]["methods"]["random"]["frames_insertion"]["area"]["value"]
    assert logged["finetune/control/explain/random/frames_insertion"] == pytest.approx(area)

    assert "registered  models:/star-tiny/1" in printed
    registered = load(find_checkpoint("models:/star-tiny/1", str(runs)))
    tuned = checkpoint.read(find_checkpoint("n", str(runs)))
    for key, value in registered.model.state_dict().items():
        assert torch.equal(value, tuned.model[key]), key
    assert registered.run_id == tuned.mlflow_run_id
    with pytest.raises(UserError, match="no such registered model"):
        find_checkpoint("models:/star-tiny/2", str(runs))  # the control is none


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_batch_with_one_byte_flipped_stops_the_job_and_names_the_file(tiny_checkpoint, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    batch = Path(sealed(tmp_path / "batches"))
    part = batch / "part-00000.parquet"
    whole = part.read_bytes()
    part.write_bytes(whole[:100] + bytes([whole[100] ^ 4]) + whole[101:])
    runs = tmp_path / "runs"
    assert guarded(main, ["--run", tiny_checkpoint, "--batches", str(batch), "--storage", str(runs)]) == 2
    assert f"damaged: {part}" in capsys.readouterr().err
    assert not runs.exists()


def test_the_recipe_is_described_without_a_cluster(tiny_checkpoint, tmp_path, capsys):
    arguments = ["--run", tiny_checkpoint, "--batches", "/b", "--storage", str(tmp_path), "train.epochs=2"]
    assert guarded(main, [*arguments, "--describe"]) == 0
    printed = capsys.readouterr().out
    for line in ("optim.lr = 0.0001", "edits.gamma_t = 10.0", "edits.batches = ['/b']", "train.epochs = 2"):
        assert line in printed
