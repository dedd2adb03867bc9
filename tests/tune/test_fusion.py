"""The weight of a fusion, from predictions that lie on disk."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core.errors import UserError
from pipeline.tune.fusion import FIXED, draw_fusion, read_stored, sweep_fusion, write_fusion


def write(path, rows, names=("without_spatial", "without_temporal"), meta=None):
    """Write rows of (id, label, spatial, temporal) as a test does."""
    table = pa.table(
        {
            "id": [row[0] for row in rows],
            "label": pa.array([row[1] for row in rows], pa.int32()),
            names[0]: pa.array([list(row[2]) for row in rows], pa.list_(pa.float32())),
            names[1]: pa.array([list(row[3]) for row in rows], pa.list_(pa.float32())),
        }
    )
    pq.write_table(table.replace_schema_metadata(meta or {"star.system": "sys", "star.split": "test, fold 1"}), path)
    return str(path)


def random_rows(count, seed, spatial=0.5, temporal=1.0):
    """Two noisy streams over four classes; the labels are drawn before the noise."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        label = int(rng.integers(4))
        streams = []
        for strength in (spatial, temporal):
            logits = rng.normal(size=4)
            logits[label] += strength
            streams.append(np.exp(logits) / np.exp(logits).sum())
        rows.append((f"v{number}", label, *streams))
    return rows


def test_every_weight_is_scored_as_the_fusion_of_a_test_does(tmp_path):
    rows = random_rows(300, 0)
    found = sweep_fusion(read_stored(write(tmp_path / "p.parquet", rows)))
    for place in (0, 37, 60, 100):
        share = place / 100
        hits = [np.argmax((1 - share) * s + share * t) == label for _, label, s, t in rows]
        assert found.top1(place).value == pytest.approx(np.mean(hits))
    top = [found.top1(place).value for place in range(101)]
    assert top[found.best] == max(top)
    near = [abs(place / 100 - FIXED) for place in range(101) if top[place] == max(top)]
    assert abs(found.shares_W[found.best] - FIXED) == pytest.approx(min(near))


def test_a_weight_chosen_on_noise_is_worth_nothing_on_other_videos(tmp_path):
    """Both streams are noise: the best weight looks better than chance, the cross-fitted one does not."""
    gaps, honest = [], []
    for seed in range(12):
        rows = random_rows(120, seed, spatial=0.0, temporal=0.0)
        found = sweep_fusion(read_stored(write(tmp_path / f"{seed}.parquet", rows)))
        gaps.append(found.top1(found.best).value - 0.25)
        honest.append(float(found.chosen_N.mean()) - 0.25)
    assert np.mean(gaps) > 0.04
    assert abs(np.mean(honest)) < 0.03
    assert found.worth.videos == 120


def test_results_say_what_was_found_and_how_to_use_it(tmp_path):
    stored = read_stored(write(tmp_path / "p.parquet", random_rows(80, 1)))
    found = sweep_fusion(stored)
    text = write_fusion(stored, found, "python jobs/x.py", str(tmp_path / "out"))
    assert text + "\n" == (tmp_path / "out" / "table.txt").read_text()
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["winner"] == list(found.weights)
    assert sum(results["winner"]) == pytest.approx(1.0)
    assert len(results["curve"]) == 101
    assert draw_fusion(found).startswith(b"\x89PNG")


def test_the_answers_with_attention_are_taken_where_there_are_any(tmp_path):
    rows = random_rows(5, 2)
    path = write(tmp_path / "p.parquet", rows, ("with_spatial", "with_temporal"))
    assert read_stored(path).about["variant"] == "with"
    with pytest.raises(UserError, match=r"lacks that variant\. Received: blind\. Allowed: with"):
        read_stored(path, "blind")
    hidden = [(video, -1, s, t) for video, _, s, t in rows]
    with pytest.raises(UserError, match="No prediction has a label"):
        read_stored(write(tmp_path / "hidden.parquet", hidden))
    with pytest.raises(UserError, match="There are no predictions"):
        read_stored(str(tmp_path / "absent.parquet"))
