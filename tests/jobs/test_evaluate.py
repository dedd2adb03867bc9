"""The evaluation job from its command line to its files and its MLflow run."""

import csv
import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient
from PIL import Image

from jobs.cli import guarded
from jobs.evaluate import main
from pipeline.data.listing.sources import load_listing
from pipeline.data.prepare.ingest import IngestConfig
from pipeline.data.prepare.run import PrepareConfig, in_process, prepare
from pipeline.data.store.prepared import PreparedDataset

pytestmark = [
    # Ray Data warns about its own deprecated fields whenever it copies its own context.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context"),
    # MLflow uses an option that SQLAlchemy 2.1 has deprecated.
    pytest.mark.filterwarnings("ignore:.*noload:DeprecationWarning"),
]


@pytest.mark.ray
def test_an_evaluation_leaves_files_that_agree_and_logs_them(
    ray_cluster, tiny_root, make_checkpoint, tmp_path, monkeypatch, capsys
):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    client = MlflowClient(tracking_uri=uri)
    run_id = client.create_run(client.create_experiment("e", artifact_location=str(tmp_path / "artifacts"))).info.run_id
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    checkpoint, out = make_checkpoint(mlflow_run_id=run_id), tmp_path / "out"
    truth = tmp_path / "truth.parquet"
    ids = [f"validation-{i}" for i in range(2, 9)]
    pq.write_table(pa.table({"id": ids, "active": [[t % 2 == 0 for t in range(20)]] * 7}), truth)

    arguments = ["--checkpoint", checkpoint, "--invert", "all", "--protocol", "8x2", "--out", str(out)]
    assert guarded(main, [*arguments, "--truth", str(truth)]) == 0

    printed = capsys.readouterr().out
    rows = pq.read_table(out / "predictions.parquet").to_pylist()
    plain = [row for row in rows if row["inversion"] == "none"]
    right = sum(int(np.argmax(row["scores"])) == row["label"] for row in plain)
    numbers = json.loads((out / "metrics.json").read_text())
    assert len(rows) == 28
    assert sorted(row["id"] for row in plain) == ids
    assert numbers["perception"]["none"]["top1_hits"] == right
    assert numbers["passport"] == numbers["trained_on"]
    assert numbers["temporal_attention_against_truth"]["clips"] == 7
    with (out / "per_class.csv").open() as file:
        assert sum(int(line["top1_hits"]) for line in csv.DictReader(file)) == right
    with (out / "confusion.csv").open() as file:
        assert sum(int(cell) for line in list(csv.reader(file))[1:] for cell in line[1:]) == 7
    with Image.open(out / "confusion.png") as picture:
        assert picture.size[0] >= 700
    table = (out / "table.txt").read_text()
    assert table in printed
    assert f"{100 * right / 7:.2f}" in table
    assert "both inverted, attention branch" in table
    assert "2 clips of 8 frames" in table
    assert "active frames" in table

    explained = numbers["explanations"]
    assert explained["clips"] == 7, "the split has no eighth"
    assert list(explained["methods"]) == ["attention", "grad_cam", "random"]
    with Image.open(out / "explanations.png") as picture:
        assert picture.size[0] >= 700
    assert "pixels, Grad-CAM" in table
    assert "AUC against truth" in table

    run = client.get_run(run_id)
    area = explained["methods"]["attention"]["frames_deletion"]["area"]["value"]
    assert run.data.metrics["eval/validation/8x2/explain/attention/frames_deletion"] == pytest.approx(area)
    assert run.data.metrics["eval/validation/8x2/explain/random/active_frames"] >= 0
    lost = explained["methods"]["attention"]["inversion_drop"]
    assert list(lost) == ["spatial", "temporal", "both"]
    for invert, one in lost.items():
        top1 = [run.data.metrics[f"eval/validation/8x2/{name}/top1"] for name in ("none", invert)]
        assert 100 * one["difference"]["value"] == pytest.approx(top1[0] - top1[1])
        assert run.data.metrics[f"eval/validation/8x2/explain/attention/drop_{invert}"] == pytest.approx(
            top1[0] - top1[1]
        )
    assert "both, ST-ABN" in table
    assert run.data.metrics["eval/validation/8x2/none/top1"] == pytest.approx(100 * right / 7)
    (folder,) = client.list_artifacts(run_id, "evaluation")
    logged = {artifact.path.rsplit("/", 1)[1] for artifact in client.list_artifacts(run_id, folder.path)}
    assert logged == {path.name for path in out.iterdir()}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--protocol", "32"], "8x2"),
        (["--data", "/nowhere"], "no prepared data set"),
        (["--split", "dev", "--out", "x"], "no such split"),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_wrong_request_is_one_line_and_status_2(tiny_checkpoint, arguments, words, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pipeline.core.ray_session.connect", lambda cpus: None)  # refused before any cluster is needed
    assert guarded(main, ["--checkpoint", tiny_checkpoint, *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert words in error
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def directions(tiny_videos, tmp_path, make_checkpoint):
    """The videos prepared under classes of which two are each other's mirror image, and a checkpoint; (root, it)."""
    classes, root = ("Pushing left", "Pushing right", "Jumping"), str(tmp_path / "prepared")
    folder = tmp_path / "videos"
    shutil.copytree(tiny_videos, folder)
    for name in ("classes.txt", "videos.csv"):
        text = (folder / name).read_text()
        for old, new in zip((folder / "classes.txt").read_text().split("\n"), classes, strict=False):
            text = text.replace(old, new)
        (tmp_path / name).write_text(text)
    for name in ("classes.txt", "videos.csv"):
        (tmp_path / name).replace(folder / name)
    config = PrepareConfig(ingest=IngestConfig(short_side=32), shard_videos=16)
    prepare(load_listing("folder", str(folder)), root, config, in_process)
    dataset = PreparedDataset.open(root)
    parts = dict(dataset.identity.parts)
    return root, make_checkpoint(classes=dataset.classes, passport=dataset.passport, passport_parts=parts)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_mirrored_crops_of_directions_are_refused(directions, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("pipeline.core.ray_session.connect", lambda cpus: None)  # refused before any cluster is needed
    root, checkpoint = directions
    arguments = ["--checkpoint", checkpoint, "--data", root, "--out", str(tmp_path / "out")]
    assert guarded(main, [*arguments, "--crops", "10"]) == 2
    error = capsys.readouterr().err
    assert "Mirrored test crops change the class" in error
    assert "--crops 3" in error
    assert not (tmp_path / "out").exists()


@pytest.mark.ray
def test_three_crops_of_directions_and_ten_of_others_are_fine(
    ray_cluster, directions, tiny_checkpoint, tmp_path, monkeypatch
):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    root, checkpoint = directions
    for number, arguments in enumerate(
        (
            ["--checkpoint", checkpoint, "--data", root, "--crops", "3"],
            ["--checkpoint", tiny_checkpoint, "--crops", "10"],
        )
    ):
        out = tmp_path / str(number)
        assert guarded(main, [*arguments, "--maps", "none", "--out", out.as_uri()]) == 0
        assert pq.read_metadata(out / "predictions.parquet").num_rows == 7


def test_a_baseline_has_nothing_to_invert(make_checkpoint, capsys):
    assert guarded(main, ["--checkpoint", make_checkpoint("baseline"), "--invert", "all"]) == 2
    assert "no attention to invert" in capsys.readouterr().err


def test_an_unknown_training_is_named(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert guarded(main, ["--run", "nothing", "--storage", str(tmp_path)]) == 2
    assert "no such training" in capsys.readouterr().err
