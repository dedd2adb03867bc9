"""An evaluation counts what it writes, and refuses data that the network does not know."""

import dataclasses
import io
import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.core.config import override
from pipeline.core.errors import UserError
from pipeline.data.listing.sources import load_listing
from pipeline.data.prepare.ingest import IngestConfig
from pipeline.data.prepare.run import PrepareConfig, in_process, prepare
from pipeline.data.store.catalog import Passport
from pipeline.data.store.prepared import PreparedDataset
from pipeline.eval import report
from pipeline.eval.evaluate import check_data, evaluate
from pipeline.eval.load import load
from pipeline.train.trained_on import TrainedOn

CLASSES = ("a,b", "c", "d", "e", "f", "g")


def rows(count, inversions=("none",), hidden=0, baseline=False):
    """Made-up predictions of `count` videos, the first `hidden` of them without a label."""
    rng = np.random.default_rng(0)
    for i in range(count):
        for invert in inversions:
            yield {
                "id": f"v{i}",
                "label": -1 if i < hidden else i % 5,  # class 5 has no video
                "frames": 40,
                "inversion": invert,
                "scores": rng.random(6).astype(np.float32),
                "att_scores": None if baseline else rng.random(6).astype(np.float32),
                "temporal": None if baseline else rng.random(8).astype(np.float32),
                "spatial": None,
                "spatial_shape": None,
                "idx": list(range(8)),
                "valid": [True] * 8,
            }


@pytest.fixture
def evaluation(tmp_path):
    return evaluate(rows(600, ("none", "both"), hidden=7), 6, ("none", "both"), str(tmp_path / "p.parquet"), {"k": "v"})


def test_counts_are_those_of_the_written_rows(evaluation, tmp_path):
    table = pq.read_table(tmp_path / "p.parquet")
    assert table.schema.metadata[b"star.k"] == b"v"
    assert len(table) == 1200
    assert (evaluation.videos, evaluation.hidden) == (600, 7)
    for invert in ("none", "both"):
        for column, counts in (("scores", evaluation.perception), ("att_scores", evaluation.attention)):
            known = [r for r in table.to_pylist() if r["inversion"] == invert and r["label"] >= 0]
            right = sum(int(np.argmax(r[column])) == r["label"] for r in known)
            in_five = sum(sorted(r[column], reverse=True).index(r[column][r["label"]]) < 5 for r in known)
            assert (counts[invert].videos, counts[invert].top1_hits, counts[invert].top5_hits) == (593, right, in_five)


def test_what_inversion_costs_is_counted_on_the_same_videos(evaluation, tmp_path):
    table = pq.read_table(tmp_path / "p.parquet").to_pylist()
    right = {
        invert: {r["id"]: int(np.argmax(r["scores"])) == r["label"] for r in table if r["inversion"] == invert}
        for invert in ("none", "both")
    }
    known = [r["id"] for r in table if r["inversion"] == "none" and r["label"] >= 0]
    (found,) = evaluation.inversion_drops().values()
    assert found.videos == len(known) == 593
    assert found.gained == sum(right["none"][i] and not right["both"][i] for i in known)
    assert found.lost == sum(right["both"][i] and not right["none"][i] for i in known)
    hits = evaluation.perception["none"].top1_hits - evaluation.perception["both"].top1_hits
    assert found.difference().value == pytest.approx(hits / 593)


def test_without_the_attention_as_trained_there_is_nothing_to_lose(tmp_path):
    for inversions in (("none",), ("both",)):
        one = evaluate(rows(20, inversions), 6, inversions, str(tmp_path / "p.parquet"), {})
        assert one.inversion_drops() == {}
    hidden = evaluate(rows(5, ("none", "both"), hidden=5), 6, ("none", "both"), str(tmp_path / "p.parquet"), {})
    assert hidden.inversion_drops() == {}


def test_an_interrupted_evaluation_leaves_no_file(tmp_path):
    def broken():
        yield from rows(300)
        raise RuntimeError("the cluster is gone")

    with pytest.raises(RuntimeError, match="gone"):
        evaluate(broken(), 6, ("none",), str(tmp_path / "p.parquet"), {})
    assert list(tmp_path.iterdir()) == []


def test_the_table_shows_every_line_and_says_what_was_counted(evaluation):
    text = report.table(evaluation, "title")
    top1 = evaluation.perception["both"].top1()
    line = next(line for line in text.splitlines() if line.startswith("both inverted  "))
    assert f"{100 * top1.value:.2f}" in line
    assert f"{100 * top1.low:.2f} to {100 * top1.high:.2f}" in line
    assert "as trained, attention branch" in text
    assert "593 videos counted, each once; 7 predicted without a published label" in text
    assert "always" not in text
    assert len({len(line) for line in text.splitlines()[1:6]}) == 1  # columns are aligned


def test_few_classes_and_a_baseline_are_said(tmp_path):
    few = [row | {"scores": row["scores"][:5]} for row in rows(20, baseline=True)]
    text = report.table(evaluate(few, 5, ("none",), str(tmp_path / "p.parquet"), {}), "title")
    assert "top-5 of 5 classes is always 100 %" in text
    assert "attention branch" not in text


def test_a_split_without_labels_has_predictions_and_no_accuracy(tmp_path):
    evaluation = evaluate(rows(9, hidden=9), 6, ("none",), str(tmp_path / "p.parquet"), {})
    assert report.table(evaluation, "title").splitlines() == [
        "title",
        "0 videos counted, each once; 9 predicted without a published label.",
    ]
    assert report.metrics(evaluation)["perception"]["none"] == {"videos": 0}
    assert report.flat_metrics(evaluation, "eval") == {}


def test_metrics_are_json_with_integers_behind_every_share(evaluation):
    numbers = json.loads(json.dumps(report.metrics(evaluation), allow_nan=False))["perception"]["none"]
    assert numbers["top1"]["value"] == numbers["top1_hits"] / numbers["videos"]
    assert numbers["classes_with_videos"] == 5
    flat = report.flat_metrics(evaluation, "eval/8")
    assert flat["eval/8/none/top1"] == 100 * numbers["top1"]["value"]
    assert len(flat) == 12


def test_class_files_add_up(evaluation):
    import csv

    counts = evaluation.perception["none"]
    lines = list(csv.DictReader(io.StringIO(report.per_class_csv(counts, CLASSES))))
    assert [line["text"] for line in lines] == list(CLASSES)
    assert sum(int(line["videos"]) for line in lines) == 593
    assert sum(int(line["top1_hits"]) for line in lines) == counts.top1_hits
    assert lines[5]["top1"] == ""
    matrix = list(csv.reader(io.StringIO(report.confusion_csv(counts, CLASSES))))
    assert [[int(cell) for cell in line[1:]] for line in matrix[1:]] == counts.confusion_KK.tolist()
    worst = report.confusions(counts, 3)
    assert worst[0][0] == max(int(line["times"]) for line in lines)
    assert worst == sorted(worst, reverse=True, key=lambda c: c[0])


def test_the_data_of_the_training_are_accepted(tiny_root, tiny_checkpoint):
    assert check_data(load(tiny_checkpoint), PreparedDataset.open(tiny_root), allow_other=False) == ()


@pytest.fixture(scope="module")
def other(tiny_videos, tmp_path_factory):
    """The same videos prepared at another size."""
    root = str(tmp_path_factory.mktemp("other") / "tiny")
    prepare(
        load_listing("folder", str(tiny_videos)), root, PrepareConfig(ingest=IngestConfig(short_side=36)), in_process
    )
    return PreparedDataset.open(root)


def test_other_data_are_refused_with_what_differs_unless_allowed(other, tiny_checkpoint):
    network = load(tiny_checkpoint)
    with pytest.raises(UserError, match=r"short_side differs.*height differs in 10 of 10 videos.*--allow-other-data"):
        check_data(network, other, allow_other=False)
    assert "short_side differs" in check_data(network, other, allow_other=True)


def test_without_the_training_data_the_parts_that_differ_are_named(other, make_checkpoint, tiny_root):
    parts = dict(PreparedDataset.open(tiny_root).identity.parts)
    gone = load(make_checkpoint(passport="0" * 64, passport_parts=parts))
    with pytest.raises(UserError, match="short_side differs"):
        check_data(gone, other, allow_other=False)


def test_what_the_runs_folder_kept_names_the_videos_when_the_training_data_are_gone(
    other, tiny_root, tiny_checkpoint, tmp_path
):
    trained = PreparedDataset.open(tiny_root)
    TrainedOn(trained.identity, str(tmp_path)).keep(trained.rows)
    network = load(tiny_checkpoint)
    elsewhere = override(network.recipe, ["data.root=/nowhere"])
    gone = dataclasses.replace(network, recipe=elsewhere, checkpoint=str(tmp_path / "step-3"))
    with pytest.raises(UserError, match=r"height differs in 10 of 10 videos"):
        check_data(gone, other, allow_other=False)
    with pytest.raises(UserError, match=r"height differs; "):
        check_data(dataclasses.replace(gone, checkpoint="/nowhere/step-3"), other, allow_other=False)


def test_other_classes_are_always_refused(tiny_root, tiny_checkpoint):
    network, dataset = load(tiny_checkpoint), PreparedDataset.open(tiny_root)
    renamed = dataclasses.replace(network, classes=("x", *network.classes[1:]))
    with pytest.raises(UserError, match="class 0 is 'Lifting something up', the network's is 'x'"):
        check_data(renamed, dataset, allow_other=True)
    fewer = dataclasses.replace(network, classes=network.classes[:2], passport=Passport("", {}))
    with pytest.raises(UserError, match="3 classes, the network has 2"):
        check_data(fewer, dataset, allow_other=True)
