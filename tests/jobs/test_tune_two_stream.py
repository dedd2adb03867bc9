"""The fusion's weight from stored predictions, and a stage of a system, from the command line."""

import json
import shlex

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.cli import guarded
from jobs.evaluate_two_stream import parse as parse_evaluation
from jobs.tune_two_stream import main, parse


@pytest.fixture
def predictions(tmp_path):
    """Forty videos of three classes; motion tells more than appearance."""
    rng = np.random.default_rng(0)
    label_N = rng.integers(3, size=40)
    table = {"id": [f"v{i}" for i in range(40)], "label": pa.array(label_N, pa.int32())}
    for name, strength in (("without_spatial", 0.5), ("without_temporal", 2.0)):
        logits_NK = rng.normal(size=(40, 3))
        logits_NK[np.arange(40), label_N] += strength
        scores_NK = np.exp(logits_NK) / np.exp(logits_NK).sum(axis=1, keepdims=True)
        table[name] = pa.array(list(scores_NK.astype(np.float32)), pa.list_(pa.float32()))
    path = tmp_path / "predictions.parquet"
    pq.write_table(pa.table(table).replace_schema_metadata({"star.system": "sys", "star.split": "test, fold 1"}), path)
    return str(path)


def test_the_fusion_is_swept_without_training(predictions, tmp_path, capsys):
    out = tmp_path / "out"
    assert guarded(main, ["--predictions", predictions, "--out", str(out), "--storage", "/runs"]) == 0
    printed = capsys.readouterr().out
    assert (out / "table.txt").read_text() in printed.replace(" \n  results", "\n  results")
    results = json.loads((out / "results.json").read_text())
    assert results["best"]["value"] >= max(point[1]["value"] for point in results["curve"])
    assert (out / "fusion.png").read_bytes().startswith(b"\x89PNG")
    asked = parse_evaluation(shlex.split(results["command"])[2:])
    assert (asked.systems, asked.storage, asked.fusion) == (["sys"], "/runs", results["winner"])


def test_what_is_missing_is_told(tmp_path, capsys):
    assert guarded(main, ["--predictions", str(tmp_path / "absent.parquet")]) == 2
    assert "There are no predictions" in capsys.readouterr().err
    search = ["--search", "spatial.optim.lr=log(1e-4,1e-1)"]
    assert guarded(main, ["two_stream_demo", "--stage", "r1-spatial", *search]) == 2
    assert "No data set was given" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        parse(["two_stream_demo"])
