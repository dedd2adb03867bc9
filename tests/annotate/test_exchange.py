"""Answers from the authors' editor and from Label Studio, and to it."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from pipeline.annotate.batches import read_batch, write_batch
from pipeline.annotate.exchange import (
    HUMAN,
    MODEL,
    from_label_studio,
    label_studio_config,
    read_saved_attention,
    to_label_studio,
)
from pipeline.core.errors import UserError
from pipeline.data.store.prepared import PreparedDataset


@pytest.fixture(scope="module")
def dataset(prepared):
    return PreparedDataset.open(prepared)


def save(folder, video, values, label=None):
    path = folder / str(video.label if label is None else label) / f"{video.id}.npy"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, values)


def test_saved_attention_becomes_a_batch(dataset, tmp_path):
    first, second = dataset.videos("train")[:2]
    curve = np.linspace(0.1, 0.4, first.frames).astype(np.float32)
    curve[0], curve[1], curve[2], curve[3] = 0.0, 0.5009, 0.9995, 0.5011
    save(tmp_path / "saved", first, curve)
    save(tmp_path / "saved", second, np.ones(second.frames, np.float32))
    rows = {row.video_id: row for row in read_saved_attention(str(tmp_path / "saved"), dataset, "resnet50")}
    row = rows[first.id]
    assert row.scores[:3] == (0.0, 0.5, 1.0)
    assert row.scores[3:] == pytest.approx(curve[3:].tolist())
    assert row.source == (HUMAN, HUMAN, HUMAN, *[MODEL] * (first.frames - 3))
    assert set(rows[second.id].source) == {HUMAN}
    manifest = write_batch(str(tmp_path / "batches"), list(rows.values()), {"model": "resnet50"})
    batch = read_batch(str(tmp_path / "batches" / manifest["batch"]))
    assert {one.video_id: one.scores for one in batch.rows}[first.id] == pytest.approx(row.scores)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda folder, v: save(folder, v, np.ones(v.frames + 1, np.float32)), "the video has"),
        (lambda folder, v: save(folder, v, np.full(v.frames, np.nan, np.float32)), "outside 0 to 1"),
        (lambda folder, v: save(folder, v, np.ones(v.frames, np.float32), v.label + 1), "says class"),
        (lambda folder, v: save(folder, v, np.array([{}], dtype=object)), "allow_pickle"),
        (lambda folder, v: (folder / "0").mkdir(parents=True), "no .npy file"),
        (lambda folder, v: ((folder / "0").mkdir(parents=True), (folder / "0" / ".npy").touch()), "no such video"),
    ],
)
def test_files_that_fit_no_video_are_named(dataset, tmp_path, change, said):
    change(tmp_path / "saved", dataset.videos("train")[0])
    with pytest.raises(UserError, match=said):
        read_saved_attention(str(tmp_path / "saved"), dataset, "resnet50")


def test_label_studio_there_and_back(dataset, tmp_path):
    video = dataset.videos("train")[0]
    curve = np.zeros(video.frames, np.float32)
    curve[3:6], curve[4] = 0.5, 1.0
    save(tmp_path / "saved", video, curve)
    (row,) = read_saved_attention(str(tmp_path / "saved"), dataset, "resnet50")
    (task,) = to_label_studio([row], "https://videos.test/{video_id}.mp4")
    assert task["data"]["video"] == f"https://videos.test/{video.id}.mp4"
    spans = [
        (
            region["value"]["timelinelabels"][0],
            region["value"]["ranges"][0]["start"],
            region["value"]["ranges"][0]["end"],
        )
        for region in task["annotations"][0]["result"]
    ]
    assert spans == [("0.0", 1, 3), ("0.5", 4, 4), ("1.0", 5, 5), ("0.5", 6, 6), ("0.0", 7, video.frames)]
    (back,) = from_label_studio([task], dataset, "resnet50", 1.0)
    assert back.scores == row.scores
    del task["annotations"][0]["result"][0]
    (partly,) = from_label_studio([task], dataset, "resnet50", 1.0)
    assert partly.scores[:4] == (None, None, None, 0.5)
    assert partly.source[:4] == (None, None, None, HUMAN)


def test_the_configuration_names_what_the_tasks_use():
    root = ET.fromstring(label_studio_config())
    assert root.find("Video").attrib == {"name": "video", "value": "$video"}
    assert root.find("TimelineLabels").attrib == {"name": "scores", "toName": "video"}
    assert [label.get("value") for label in root.iter("Label")] == ["0.0", "0.5", "1.0"]


@pytest.mark.parametrize(
    ("start", "end", "label"), [(0, 3, "0.5"), (3, 2, "0.5"), (1, 1000, "0.5"), (1, 2, "0.7"), (1, 2, "high")]
)
def test_ranges_that_cannot_be_are_refused(dataset, start, end, label):
    value = {"ranges": [{"start": start, "end": end}], "timelinelabels": [label]}
    data = {"video_id": dataset.videos("train")[0].id}
    task = {"data": data, "annotations": [{"result": [{"type": "timelinelabels", "value": value}]}]}
    with pytest.raises(UserError, match="Task 0"):
        from_label_studio([task], dataset, "", 1.0)
    with pytest.raises(UserError, match="Task 0"):
        from_label_studio([{"data": {"video_id": "none"}}], dataset, "", 1.0)
