"""The whole service through HTTP, by annotators who are programs."""

import numpy as np
import pytest

from pipeline.annotate.batches import read_batch
from pipeline.annotate.importing import item_uid
from pipeline.annotate.sealing import seal
from pipeline.annotate.simulate import Habits, annotate_together, believed, cells_of, levels_of, pointed
from pipeline.core.errors import UserError


def test_levels_of_a_known_action():
    active_V = np.array([0, 0, 1, 1, 1, 1, 1, 0], bool)
    assert levels_of(active_V, 0.2).tolist() == [0, 0, 0.5, 0.5, 1, 0.5, 0.5, 0]
    assert levels_of(np.zeros(3, bool)).tolist() == [0, 0, 0]
    assert levels_of(np.ones(1, bool)).tolist() == [1]


def test_what_people_believe_is_known_by_the_id_that_they_see(make_campaign):
    _, campaign = make_campaign()
    active = {item.video: np.arange(item.num_frames) % 3 == 0 for item in campaign.items}
    truth = believed(campaign, active)
    for item in campaign.items:
        levels = truth({"uid": item_uid(campaign.id, item.video)})
        assert [level > 0 for level in levels] == active[item.video].tolist()
    first = campaign.items[0]
    with pytest.raises(UserError, match=f"video {first.video}[\\s\\S]*no entry"):
        believed(campaign, {**active, first.video: None})
    with pytest.raises(UserError, match=f"video {first.video}[\\s\\S]*1 frames"):
        believed(campaign, {**active, first.video: np.ones(1, bool)})


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_eight_people_finish_a_campaign_and_it_is_sealed(kind, serve, new_database, make_campaign, truth_of, tmp_path):
    folder, campaign = make_campaign(gold=2, examples=1, double_share=0.5)
    with serve(new_database(kind), folder) as server:
        tokens = [server.invite(f"person {n}") for n in range(8)]
        done = annotate_together(
            server.address, tokens, campaign.id, lambda item: truth_of(item["num_frames"]), Habits(saves=2)
        )
        manifest = seal(server.database, campaign.id, str(tmp_path))
    work = [item for item in campaign.items if item.kind == "work"]
    uids = [uid for one in done for uid in one.items]
    gold = {item_uid(campaign.id, item.video) for item in campaign.items if item.kind == "gold"}
    assert len([uid for uid in uids if uid not in gold]) == len(work) + round(0.5 * len(work))
    batch = read_batch(str(tmp_path / manifest["batch"]))
    assert {row.video_id for row in batch.rows} == {item.video for item in work}
    for row in batch.rows:
        assert row.scores == tuple(truth_of(row.num_frames).tolist())
    assert manifest["agreement"]["agreed"] == round(0.5 * len(work))


def test_cells_say_how_much_of_them_the_object_covers():
    """A box from the first column's end to the middle of the third, over the upper half: 7 rows."""
    cells = np.reshape(cells_of(np.array([[1 / 14, 0, 2.4 / 14, 0.5]], np.float32)), (14, 14))
    expected = np.zeros((14, 14))
    expected[:7, 1], expected[:7, 2] = 1.0, 0.5
    assert cells.tolist() == expected.tolist()


@pytest.mark.parametrize("errors", [0.0, 0.5])
def test_people_point_at_the_object_in_frames_of_the_action_and_the_sealed_batch_says_where(
    errors, serve, new_database, make_campaign, truth_of, tmp_path
):
    folder, campaign = make_campaign(spatial=True, double_share=0.0)
    assert campaign.settings.spatial
    active = {item.video: truth_of(item.num_frames) > 0 for item in campaign.items}
    boxes = {
        item.video: [np.array([[t / 64, 0.25, t / 64 + 0.3, 0.75]], np.float32) for t in range(item.num_frames)]
        for item in campaign.items
    }
    where = pointed(campaign, active, boxes)
    with serve(new_database("sqlite"), folder) as server:
        people = [server.invite(f"person {n}") for n in range(2)]
        habits = Habits(error_rate=errors, saves=2, limit=5)
        annotate_together(server.address, people, campaign.id, believed(campaign, active), habits, where=where)
        manifest = seal(server.database, campaign.id, str(tmp_path))
    rows = read_batch(str(tmp_path / manifest["batch"])).rows
    right = wrong = 0
    for row in rows:
        assert row.spatial_frames == tuple(np.flatnonzero(active[row.video_id]).tolist())
        for frame, cells in zip(row.spatial_frames, row.spatial_maps, strict=True):
            true = cells_of(boxes[row.video_id][frame])
            right, wrong = right + (list(cells) == true), wrong + (list(cells) != true)
            assert sorted(cells) == sorted(true)  # moved at most, never of another size
    assert right > 0
    assert (wrong > 0) == (errors > 0)
    if errors:
        assert 0.25 < wrong / (right + wrong) < 0.75


def test_without_the_layer_nobody_points(serve, new_database, make_campaign, truth_of, tmp_path):
    folder, campaign = make_campaign(double_share=0.0)
    active = {item.video: truth_of(item.num_frames) > 0 for item in campaign.items}
    boxes = {item.video: [np.array([[0, 0, 1, 1]], np.float32)] * item.num_frames for item in campaign.items}
    with serve(new_database("sqlite"), folder) as server:
        truth, where = believed(campaign, active), pointed(campaign, active, boxes)
        annotate_together(server.address, [server.invite("one")], campaign.id, truth, Habits(limit=2), where=where)
        manifest = seal(server.database, campaign.id, str(tmp_path))
    assert all(row.spatial_frames == () for row in read_batch(str(tmp_path / manifest["batch"])).rows)
