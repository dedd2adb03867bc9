"""The test's commands from their command lines to their files and their MLflow runs."""

import csv
import json
import math
from dataclasses import asdict, replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient
from PIL import Image

from jobs.cli import guarded
from jobs.evaluate_two_stream import main as evaluate_main
from jobs.explain_two_stream import main as explain_main
from pipeline.core import storage
from pipeline.core.errors import UserError
from pipeline.data.records import HIDDEN_LABEL
from pipeline.eval.metrics import Interval
from pipeline.flow.catalog import QUARANTINED
from pipeline.two_stream.answer import VARIANTS
from pipeline.two_stream.curves import read_curves
from pipeline.two_stream.evaluate import PARTS, NotScored, check_data, evaluate, not_scored
from pipeline.two_stream.pairs import PairedData
from pipeline.two_stream.predict import TestRun, columns_of, predict
from pipeline.two_stream.procedure import Record
from pipeline.two_stream.recipe import Round, SystemExpected
from pipeline.two_stream.results import Results, flat_metrics, folds_metrics, folds_table, metrics, table
from pipeline.two_stream.stages import Places, stages
from pipeline.two_stream.testing import TestRequest, score_system
from pipeline.two_stream.views import Viewing

# MLflow uses an option that SQLAlchemy 2.1 has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:.*noload:DeprecationWarning")

QUICK = ["--actors", "0", "--places", "2"]


@pytest.fixture(scope="module")
def tracked(tiny, paired, make_system, tmp_path_factory):
    """A system with the records and MLflow runs that its training would leave; returns system, client and its URI."""
    folder = tmp_path_factory.mktemp("tracked")
    expected = SystemExpected(source="S3 table 4.1", spatial=55.03, temporal=63.9, fused=71.2)
    recipe = replace(tiny, expected=expected, rounds=(Round(epochs=3), Round(epochs=2)))
    system = make_system(str(folder / "runs"), "tracked", recipe, paired)
    uri = f"sqlite:///{folder}/runs/mlflow.db"
    client = MlflowClient(tracking_uri=uri)
    experiment = client.create_experiment("e", artifact_location=str(folder / "artifacts"))
    for number, stage in enumerate(stages(recipe), start=1):
        run_id = ""
        epochs = recipe.rounds[stage.round - 1].epochs
        if stage.kind != "maps":
            run_id = client.create_run(experiment).info.run_id
            for step in range(2, 2 * epochs + 1, 2):
                client.log_metric(run_id, "train/loss", stage.round + 1 / step, step=step)
                client.log_metric(run_id, "epoch", step / 2, step=step)
            client.log_metric(run_id, "train/loss", stage.round + 0.5, step=2)  # again, after a restart
            client.log_metric(run_id, "val/top1", 10.0 * stage.round, step=2 * epochs)
        record = Record(
            stage=stage.name, recipe={}, inputs={}, steps=2 * epochs, mlflow_run_id=run_id, seconds=float(number)
        )
        storage.write_json(Places(system.root, system.name).record(stage.name), asdict(record))
    return system, client, uri


def test_a_test_leaves_files_that_agree_and_logs_them(tracked, paired, tmp_path, capsys):
    system, client, _ = tracked
    assert guarded(evaluate_main, ["tracked", "--storage", system.root, "--out", str(tmp_path), *QUICK]) == 0

    printed, out = capsys.readouterr().out, tmp_path / "tracked"
    rows = pq.read_table(out / "predictions.parquet").to_pylist()
    numbers = json.loads((out / "metrics.json").read_text())
    assert [row["id"] for row in rows] == [video.id for video in paired.videos("spatial", "test", 1)]
    for variant in VARIANTS:
        for part in PARTS:
            right = sum(int(np.argmax(row[f"{variant}_{part}"])) == row["label"] for row in rows)
            assert numbers[variant][part]["top1_hits"] == right
            assert numbers[variant][part]["videos"] == len(rows)
    pair = numbers["with_against_without"]["fused"]
    gained = numbers["with"]["fused"]["top1_hits"] - numbers["without"]["fused"]["top1_hits"]
    assert pair["gained"] - pair["lost"] == gained
    assert numbers["passport"] == numbers["trained_on"] == paired.identity().digest
    with (out / "confusion.csv").open() as file:
        assert sum(int(cell) for line in list(csv.reader(file))[1:] for cell in line[1:]) == len(rows)
    with Image.open(out / "confusion.png") as picture:
        assert picture.size[0] > 300
    assert (out / "not_scored.csv").read_text() == "id,stage,reason\n"
    text = (out / "table.txt").read_text()
    assert text in printed
    assert "expected (S3 table 4.1): spatial 55.03, temporal 63.90, fusion 71.20" in text
    assert "McNemar" in text
    for stream in ("spatial", "temporal"):
        record = storage.read_json(Places(system.root, "tracked").record(f"r2-{stream}"))
        logged = client.get_run(record["mlflow_run_id"]).data.metrics
        assert logged["test/fold1/with/fused/top1"] == pytest.approx(100 * numbers["with"]["fused"]["top1"]["value"])
        files = client.list_artifacts(record["mlflow_run_id"], "test/tracked-test-fold1-2places")
        assert "predictions.parquet" in {file.path.rpartition("/")[2] for file in files}


def test_pictures_of_where_it_looks_and_how_it_was_trained(tracked, tmp_path, capsys):
    system, *_ = tracked
    command = ["tracked", "--storage", system.root, "--out", str(tmp_path), "--videos", "1", "--places", "2"]
    assert guarded(explain_main, command) == 0
    printed = capsys.readouterr().out
    for name in ("layers-1.png", "attention-1.png", "curves.png"):
        with Image.open(tmp_path / name) as picture:
            assert picture.size[0] >= 900
            assert np.asarray(picture).std() > 10
        assert name in printed
    assert "spatial loss 2.250, top-1 20.0 %" in printed
    assert guarded(explain_main, [*command, "--asked", "Pulin"]) == 2
    assert "There is no such class" in capsys.readouterr().err


def test_curves_count_the_epochs_of_all_rounds_and_the_seconds_of_all_stages(tracked):
    system, _, uri = tracked
    found = read_curves(system, uri)
    assert found.loss["spatial"].epochs == (1, 2, 3, 4, 5)
    np.testing.assert_allclose(found.loss["spatial"].values, [1.5, 1.25, 1 + 1 / 6, 2.5, 2.25])
    assert found.top1["temporal"] == type(found.top1["temporal"])((3.0, 5.0), (10.0, 20.0))
    kinds = [stage.kind for stage in stages(system.recipe)]
    for kind, part in (("train", "streams"), ("maps", "maps"), ("attention", "attention nets")):
        assert found.seconds[part] == sum(number for number, k in enumerate(kinds, start=1) if k == kind)


def test_a_run_that_is_not_tracked_there_is_named(tracked, tmp_path):
    with pytest.raises(UserError, match="The curve of r1-spatial is not tracked"):
        read_curves(tracked[0], "")


def rows_of(labels):
    """Rows of videos with random probabilities of three classes."""
    rng = np.random.default_rng(0)
    return [
        {"id": f"v{n}", "label": label, "places": [0]}
        | {name: rng.random(3).astype(np.float32) for name in columns_of(VARIANTS)}
        for n, label in enumerate(labels)
    ]


def results_of(system, data, **changes):
    job = TestRun(root="r", name="n", split="test", fold=1, viewing=Viewing(), variants=VARIANTS)
    return Results(system=system, data=data, job=replace(job, **changes))


def test_videos_that_could_not_be_scored_are_named_and_counted(paired, random_system, tmp_path):
    """A video that the flow stage quarantined is in no prediction and in every report."""
    lost = paired.videos("spatial", "test", 1)[1].id
    rows = tuple(
        replace(row, status=QUARANTINED, reason="not_a_number", shard="", row=-1) if row.id == lost else row
        for row in paired.flow.rows
    )
    videos = {key: value for key, value in paired.flow.videos.items() if key != lost}
    data = PairedData(paired.prepared, replace(paired.flow, rows=rows, videos=videos))
    assert not_scored(data, "test", 1) == (NotScored(lost, "flow", "not_a_number"),)
    listed = [row for row in paired.prepared.rows if row.split[0] == "test"]

    run = results_of(random_system, data).job
    run = replace(
        run, root=random_system.root, name=random_system.name, actors=0, viewing=Viewing(places=1, short_side=80)
    )
    predicted = [row["id"] for row in predict(data, random_system, run)]
    assert sorted([*predicted, lost]) == sorted(row.id for row in listed)
    tested = evaluate(rows_of([0, 1]), VARIANTS, 3, str(tmp_path / "p.parquet"), {}, not_scored(data, "test", 1))
    assert "1 of the split not scored (1 lost in flow: not_scored.csv)" in table(
        results_of(random_system, data), tested
    )
    assert metrics(results_of(random_system, data), tested)["not_scored"] == {"flow": 1}


def test_hidden_labels_are_predicted_and_not_counted(paired, random_system, tmp_path):
    uri = str(tmp_path / "p.parquet")
    tested = evaluate(rows_of([0, HIDDEN_LABEL, 2]), VARIANTS, 3, uri, {"system": "x"})
    assert (tested.predicted, tested.hidden, tested.ids) == (3, 1, ("v0", "v2"))
    assert pq.read_schema(uri).metadata[b"star.system"] == b"x"
    none = evaluate(rows_of([HIDDEN_LABEL]), VARIANTS, 3, uri, {})
    results = results_of(random_system, paired)
    assert flat_metrics(results, none) == {}
    assert "1 predicted without a published label" in table(results, none)
    json.dumps(metrics(results, none), allow_nan=False)


def test_a_table_and_numbers_of_three_folds(paired, random_system, tmp_path):
    folds = []
    for fold, labels in enumerate(([0, 1, 2, 0], [1, 1], [2, 2, 0]), start=1):
        rows = [row | {"id": f"{fold}-{row['id']}"} for row in rows_of(labels)]
        tested = evaluate(rows, VARIANTS, 3, str(tmp_path / "p.parquet"), {})
        folds.append((results_of(random_system, paired, fold=fold), tested))
    numbers = folds_metrics(folds)
    for variant in VARIANTS:
        for part in PARTS:
            shares = [tested.right[f"{variant}_{part}"].mean() for _, tested in folds]
            found = numbers[variant][part]["top1"]
            assert found["value"] == pytest.approx(np.mean(shares))
            assert found["low"] <= found["value"] <= found["high"]
    text = folds_table(folds)
    assert "fold 1   fold 2   fold 3     mean" in text
    assert text.count("\n") >= 11
    assert math.isfinite(numbers["with"]["fused"]["mean_class_accuracy"])


def test_other_data_is_refused_unless_told_otherwise(random_system, paired, capsys, tmp_path):
    other = replace(
        random_system, passport=replace(random_system.passport, digest="0" * 64, parts={"frames: ids": "x"})
    )
    with pytest.raises(UserError, match=r"not those that the system was trained on.*frames: ids differs"):
        check_data(other, paired, allow_other=False)
    assert check_data(other, paired, allow_other=True)
    assert check_data(random_system, paired, allow_other=False) == ()
    with pytest.raises(UserError, match="The data set's classes"):
        check_data(replace(random_system, classes=("a", "b", "c")), paired, allow_other=True)
    tested = evaluate(rows_of([0]), VARIANTS, 3, str(tmp_path / "p.parquet"), {})
    results = replace(results_of(random_system, paired), differences=("frames: ids differs",))
    assert "not the training's data: frames: ids differs" in table(results, tested)


def test_mistakes_are_told_in_a_line(tracked, capsys):
    system, *_ = tracked
    where = ["--storage", system.root]
    for arguments, words in (
        (["nobody", *where, *QUICK], "There is no such system"),
        (["tracked", "tracked", *where, *QUICK], "A mean needs folds that differ"),
    ):
        assert guarded(evaluate_main, arguments) == 2
        assert words in capsys.readouterr().err


def test_a_variant_that_the_system_has_not_is_refused(tiny, paired, make_system, tmp_path):
    one = make_system(str(tmp_path), "one", replace(tiny, rounds=(Round(epochs=1),)), paired)
    with pytest.raises(UserError, match="The system has no such variant"):
        score_system(one, TestRequest(variants=("with",), actors=0), str(tmp_path / "out"))


def test_where_maps_point_is_told_where_the_truth_is_known(random_system, paired, tmp_path):
    videos = paired.videos("spatial", "test", 1)
    boxes = [[[[0.0, 0.0, 0.5, 1.0]]] * video.frames for video in videos]
    active = [[True] * video.frames for video in videos]
    truth = str(tmp_path / "truth.parquet")
    pq.write_table(pa.table({"id": [video.id for video in videos], "active": active, "boxes": boxes}), truth)
    request = TestRequest(places=2, actors=0, truth=truth)
    results, tested = score_system(random_system, request, str(tmp_path / "out"))
    # A map of one place has nothing outside the object: all clips are left out, and that is said.
    assert {stream: (one.clips, one.left_out) for stream, one in tested.pointing.items()} == {
        "spatial": (0, len(videos)),
        "temporal": (0, len(videos)),
    }
    assert metrics(results, tested)["maps_on_object"]["spatial"] == {"clips": 0}
    words = f"Spatial attention against truth: no clip has frames to compare ({len(videos)} seen)."
    assert f"maps of the temporal stream: {words}" in table(results, tested)
    measured = replace(tested.pointing["spatial"], clips=3, auc=Interval(0.6, 0.5, 0.7), mass=Interval(0.3, 0.2, 0.4))
    told = replace(tested, pointing={"spatial": measured})
    assert flat_metrics(results, told)["test/fold1/maps/spatial/on_object_auc"] == 0.6
    assert "AUC 0.600 (0.500 to 0.700)" in table(results, told)
    with pytest.raises(UserError, match="No map is made"):
        score_system(random_system, replace(request, variants=("without",)), str(tmp_path / "none"))
