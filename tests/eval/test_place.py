"""Spatial attention against known boxes: hand arithmetic, what is left out, what is refused."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core.errors import UserError
from pipeline.data.feed.place import Place
from pipeline.eval.place import Known, point, read_known

WHOLE = Place(0, 0, 1, 1, False)
LEFT = np.array([[0.0, 0.0, 0.5, 1.0]], np.float32)


def row(video, maps, idx, valid=None):
    maps = np.array(maps, np.float32)
    return {
        "id": video,
        "spatial": maps.ravel().tolist(),
        "spatial_shape": list(maps.shape),
        "idx": idx,
        "valid": valid or [True] * len(idx),
    }


def test_auc_mass_and_area_by_hand():
    """2 x 4 cells, the left half on the object; frame 1 is no part of the action and frame 3 padding."""
    right = [[0.1, 0.1, 0.8, 0.8], [0.1, 0.1, 0.9, 0.9]]
    mixed = [[0.5, 0.1, 0.1, 0.2], [0.5, 0.5, 0.1, 0.2]]
    known = {"a": Known(np.array([True, False, True]), [LEFT] * 3)}
    found = point(
        [row("a", [mixed, right, right, right], [0, 1, 2, 2], [True, True, True, False])], known, {"a": WHOLE}
    )
    # Of 16 pairs three cells win all four and the fourth draws with two and loses to two.
    assert found.auc.value == pytest.approx(np.mean([(3 * 4 + 2 * 0.5) / 16, 0.0]))
    assert found.mass.value == pytest.approx(np.mean([1.6 / 2.2, 0.4 / 3.8]))
    assert found.area == pytest.approx(0.5)
    assert (found.clips, found.left_out) == (1, 0)
    assert "over 1 clips, 0 left out" in found.sentence()


def test_boxes_are_those_that_the_clip_shows():
    """The clip is the right half of the picture in the mirror: what is at the picture's right edge is at its left."""
    place = Place(top=0.0, left=0.5, height=1.0, width=0.5, flip=True)
    boxes = [np.array([[0.8, 0.0, 1.0, 1.0]], np.float32)]
    known = {"a": Known(np.array([True]), boxes)}
    assert point([row("a", [[[0.9, 0.1]]], [0])], known, {"a": place}).auc.value == 1.0
    assert point([row("a", [[[0.9, 0.1]]], [0])], known, {"a": WHOLE}).clips == 0  # less than half of either cell


def test_clips_without_a_frame_to_compare_are_counted():
    known = {"a": Known(np.array([False]), [LEFT]), "b": Known(np.array([True]), [np.zeros((0, 4), np.float32)])}
    found = point([row(v, [[[0.2, 0.4]]], [0]) for v in "ab"], known, {"a": WHOLE, "b": WHOLE})
    assert (found.clips, found.left_out) == (0, 2)
    assert "no clip has frames to compare (2 seen)" in found.sentence()


def test_truth_of_other_videos_is_refused():
    known = {"a": Known(np.array([True]), [LEFT])}
    with pytest.raises(UserError, match=r"does not fit video b[\s\S]*no entry"):
        point([row("b", [[[0.2, 0.4]]], [0])], known, {"b": WHOLE})
    with pytest.raises(UserError, match=r"does not fit video a[\s\S]*1 frames"):
        point([row("a", [[[0.2, 0.4]]], [4])], known, {"a": WHOLE})


def test_a_truth_file_says_where_the_object_is_or_is_named(tmp_path):
    path = tmp_path / "truth.parquet"
    pq.write_table(pa.table({"id": ["a"], "active": [[True, False]], "boxes": [[[[0.0, 0.0, 0.5, 1.0]], []]]}), path)
    (known,) = read_known(str(path)).values()
    assert known.active_V.tolist() == [True, False]
    assert [boxes.shape for boxes in known.boxes_V] == [(1, 4), (0, 4)]
    with pytest.raises(UserError, match="no truth file"):
        read_known(str(tmp_path / "absent"))
    pq.write_table(pa.table({"id": ["a"], "active": [[True]]}), path)
    with pytest.raises(UserError, match="does not say where the object is"):
        read_known(str(path))
