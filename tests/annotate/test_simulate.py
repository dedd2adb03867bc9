"""The whole service through HTTP, by annotators who are programs."""

import numpy as np
import pytest

from pipeline.annotate.batches import read_batch
from pipeline.annotate.importing import item_uid
from pipeline.annotate.sealing import seal
from pipeline.annotate.simulate import Habits, annotate_together, believed, levels_of
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
