"""The files of an evaluation say what was evaluated, and truth is compared with the network's own attention alone."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core import storage
from pipeline.core.errors import UserError
from pipeline.data.store.prepared import PreparedDataset
from pipeline.eval.evaluate import evaluate
from pipeline.eval.load import load
from pipeline.eval.predict import PredictJob
from pipeline.eval.protocol import protocol_of
from pipeline.explain.results import Results, write_results


def rows(inversions, attention=True):
    """Made-up predictions of six videos; attention is high on the first four frames, its inversion on the last."""
    for i in range(6):
        for invert in inversions:
            high = np.arange(8) < 4
            temporal = np.where(high if invert == "none" else ~high, 0.9, 0.1).astype(np.float32)
            yield {
                "id": f"v{i}",
                "label": i % 3,
                "frames": 8,
                "inversion": invert,
                "scores": np.eye(3, dtype=np.float32)[i % 2],
                "att_scores": None,
                "temporal": temporal if attention else None,
                "spatial": None,
                "spatial_shape": None,
                "idx": list(range(8)),
                "valid": [True] * 8,
            }


@pytest.fixture
def make_results(tiny_root, tiny_checkpoint, tmp_path):
    """Write made-up predictions; returns what `write_results` takes."""

    def make(inversions=("none",), differences=(), out=str(tmp_path), **options):
        protocol = protocol_of(load(tiny_checkpoint).recipe.clip, "8x2")
        job = PredictJob(
            checkpoint=tiny_checkpoint, split="validation", fold=1, protocol=protocol, inversions=inversions
        )
        results = Results(
            network=load(tiny_checkpoint), dataset=PreparedDataset.open(tiny_root), job=job, differences=differences
        )
        predictions = storage.join(out, "predictions.parquet")
        return results, evaluate(rows(inversions, **options), 3, inversions, predictions, results.about())

    return make


@pytest.fixture
def truth(tmp_path):
    path = str(tmp_path / "truth.parquet")
    active = [[True] * 4 + [False] * 4] * 6
    pq.write_table(pa.table({"id": [f"v{i}" for i in range(6)], "active": active}), path)
    return path


def test_results_are_named_by_what_was_evaluated(make_results):
    results, evaluation = make_results(("none", "both"))
    assert results.name == "tiny-step3-validation-8x2-none-both"
    assert "2 clips of 8 frames" in results.title()
    assert set(results.flat_metrics(evaluation)) == {
        f"eval/validation/8x2/{i}/{m}" for i in ("none", "both") for m in ("top1", "top5", "mean_class")
    }


def test_truth_is_compared_with_attention_that_is_not_inverted(make_results, truth, tmp_path):
    results, evaluation = make_results(("both", "none"))
    text = write_results(results, evaluation, str(tmp_path), truth)
    assert "is higher on active frames than on others: difference +0.800" in text
    numbers = json.loads((tmp_path / "metrics.json").read_text())
    assert numbers["temporal_attention_against_truth"]["auc"]["value"] == 1.0
    assert numbers["checkpoint"] == results.network.checkpoint


def test_truth_without_attention_is_refused(make_results, truth, tmp_path):
    for options in ({"inversions": ("both",)}, {"attention": False}):
        with pytest.raises(UserError, match="no temporal attention to compare"):
            write_results(*make_results(**options), str(tmp_path), truth)


def test_results_go_to_a_uri(make_results, truth, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    local, remote = (tmp_path / "out").as_uri(), "mock:///results/out"
    texts = [write_results(*make_results(out=out), out, truth) for out in (local, remote)]
    assert texts[0] == texts[1]
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {
        "predictions.parquet",
        "table.txt",
        "metrics.json",
        *("confusion.png", "confusion.csv", "per_class.csv"),
    }
    assert {path.name for path in tmp_path.iterdir()} == {"out", "truth.parquet"}  # no folder named after a scheme
    for name in names:
        assert storage.read_bytes(f"{remote}/{name}") == (tmp_path / "out" / name).read_bytes()


def test_other_data_are_said_in_the_table_and_the_file(make_results, tmp_path):
    results, evaluation = make_results(differences=("codec differs",))
    assert "Not the training's data: codec differs." in write_results(results, evaluation, str(tmp_path))
    assert json.loads((tmp_path / "metrics.json").read_text())["differences"] == "codec differs"
    about = pq.read_schema(tmp_path / "predictions.parquet").metadata
    assert about[b"star.differences"] == b"codec differs"
