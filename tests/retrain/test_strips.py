"""Which clips are shown, from the answers of two networks, and what is drawn of them."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.data.store.prepared import PreparedDataset
from pipeline.retrain.strips import Moved, draw_strips, most_changed, read_strips

CLASSES = ("a", "b", "c")


def predictions(path, rows):
    """The columns of an evaluation's file that matter here; rows are (id, label, answer, temporal)."""
    columns = {"id": [], "label": [], "scores": [], "temporal": [], "valid": [], "inversion": []}
    for video, label, answer, temporal in rows:
        for inversion, scores in (("none", np.eye(3)[answer]), ("both", np.eye(3)[(answer + 1) % 3])):
            values = (video, label, scores.tolist(), temporal, [True] * (len(temporal) - 1) + [False], inversion)
            for column, value in zip(columns.values(), values, strict=True):
                column.append(value)
    pq.write_table(pa.table(columns), path)
    return str(path)


def test_clips_of_each_kind_are_chosen_by_how_far_attention_moved(tmp_path):
    def attention(moved):  # the last frame is padding and moves by 1
        return [0.0, 0.0, 0.0], [moved, moved, 1.0]

    stories = {  # label, champion, candidate, moved
        "lost-1": (0, 0, 1, 0.1),
        "lost-2": (0, 0, 2, 0.3),
        "lost-3": (1, 1, 0, 0.2),
        "gained": (1, 0, 1, 0.4),
        "same-1": (2, 2, 2, 0.9),
        "same-2": (2, 1, 0, 0.8),
        "same-3": (2, 2, 2, 0.7),
        "hidden": (-1, 2, 2, 1.0),
    }
    before = [(v, label, was, attention(m)[0]) for v, (label, was, _, m) in stories.items()]
    after = [(v, label, now, attention(m)[1]) for v, (label, _, now, m) in reversed(stories.items())]
    chosen = most_changed(predictions(tmp_path / "a", before), predictions(tmp_path / "b", after), CLASSES)
    assert [one.video for one in chosen] == ["lost-2", "lost-3", "gained", "same-1", "same-2", "same-3"]
    assert [one.kind for one in chosen] == ["lost", "lost", "gained", "kept", "kept", "kept"]
    assert chosen[0].change == pytest.approx(0.3)
    assert (chosen[0].label, chosen[0].before, chosen[0].after) == ("a", "a", "c")


def test_clips_are_drawn_once_and_read_again(tmp_path, tiny_root, make_checkpoint):
    dataset = PreparedDataset.open(tiny_root)
    videos = dataset.videos("validation")
    chosen = tuple(Moved(video=v.id, label="a", before="a", after="b", change=0.25) for v in videos[:2])
    networks = make_checkpoint(), make_checkpoint()
    drawn = draw_strips(chosen, *networks, dataset.root, videos, str(tmp_path))
    assert [strip.moved for strip in drawn] == list(chosen)
    assert "the champion answers a, the candidate b. Temporal attention moved by 0.25" in drawn[0].words()
    with Image.open(io.BytesIO(drawn[0].image)) as picture:
        assert picture.format == "WEBP"
        assert min(picture.size) > 200
    assert read_strips(str(tmp_path / "strips.json")) == drawn
    assert draw_strips(chosen, "gone", "gone", dataset.root, (), str(tmp_path)) == drawn
    assert read_strips(str(tmp_path / "absent" / "strips.json")) == ()
