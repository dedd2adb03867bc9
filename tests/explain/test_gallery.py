"""Files of an explained video, names of folders, and what the truth knows of a path."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.core import storage
from pipeline.core.errors import UserError
from pipeline.eval.load import load
from pipeline.explain.explain import explain_video
from pipeline.explain.gallery import folder_names, known_of, write_explanation
from pipeline.explain.strip import StripStyle, draw_strip

CLASSES = ("up", "down", "3")


def test_a_video_gets_strips_animations_arrays_and_a_page(tiny_checkpoint, tiny_videos, tmp_path):
    network, style = load(tiny_checkpoint), StripStyle(tile=32)
    windows = explain_video(network, str(tiny_videos / "validation-3.mp4"), "validation-3.mp4")
    page = write_explanation(str(tmp_path / "x"), network, windows, style, "gif")
    names = {path.name for path in (tmp_path / "x").iterdir()}
    assert names == {"index.html", "strip-1.png", "clip-1.gif", "arrays-1.npz"}
    with Image.open(tmp_path / "x" / "strip-1.png") as picture:
        assert (np.asarray(picture) == draw_strip(windows[0], style)).all()
    with np.load(io.BytesIO((tmp_path / "x" / "arrays-1.npz").read_bytes())) as arrays:
        assert (arrays["temporal"] == windows[0].temporal_T).all()
    text = Path(page).read_text()
    for fact in (
        network.passport.digest,
        network.checkpoint,
        f"{network.parameters:,} parameters",
        "8 frames, stride 1",
    ):
        assert fact in text


def test_a_gallery_goes_to_a_uri(tiny_checkpoint, tiny_videos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    network, style = load(tiny_checkpoint), StripStyle(tile=32)
    windows = explain_video(network, str(tiny_videos / "validation-3.mp4"), "validation-3.mp4")
    pages = [write_explanation(f"{root}/x", network, windows, style) for root in ("mock:///gallery", tmp_path.as_uri())]
    assert pages == ["mock:///gallery/x/index.html", f"{tmp_path.as_uri()}/x/index.html"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["x"]  # no folder named after a scheme
    for name in ("strip-1.png", "clip-1.webp", "arrays-1.npz", "index.html"):
        assert storage.read_bytes(f"mock:///gallery/x/{name}") == (tmp_path / "x" / name).read_bytes()


def test_equal_file_names_get_folders_of_their_own():
    assert folder_names(["a/x.mp4", "b/y.webm", "c/x.avi"]) == ["x-1", "y", "x-2"]


def test_a_label_is_a_text_or_an_index():
    assert known_of("", "down", CLASSES)("any").label == 1
    assert known_of("", "0", CLASSES)("any").label == 0
    assert known_of("", "3", CLASSES)("any").label == 2  # a text before an index
    assert known_of("", "", CLASSES)("any").label is None
    for bad in ("7", "sideways"):
        with pytest.raises(UserError, match="no such class"):
            known_of("", bad, CLASSES)


def test_the_truth_is_found_by_the_end_of_a_path_the_longest_first(tmp_path):
    rows = {
        "path": ["1.mp4", "up/1.mp4", "down/1.mp4"],
        "class_name": ["up", "up", "down"],
        "active": [[True, True], [True], [False, True]],
    }
    path = str(tmp_path / "truth.parquet")
    pq.write_table(pa.table(rows), path)
    look_up = known_of(path, "", CLASSES)
    assert look_up("/data/set/down/1.mp4").label == 1
    assert look_up("/data/set/down/1.mp4").active_V.tolist() == [False, True]
    assert look_up("/data/set/1.mp4").active_V.tolist() == [True, True]
    with pytest.raises(UserError, match="does not know"):
        look_up("/data/set/2.mp4")
    with pytest.raises(UserError, match="cannot be read"):
        known_of(str(tmp_path / "absent"), "", CLASSES)
