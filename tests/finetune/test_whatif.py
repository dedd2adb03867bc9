"""The page's what-if against the network itself."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest
import sqlalchemy as sa
import torch

from pipeline.annotate.campaign import CampaignItem, CampaignSettings, write_campaign
from pipeline.annotate.database import Database
from pipeline.annotate.frames import Pictures
from pipeline.annotate.importing import import_campaign
from pipeline.annotate.tables import items
from pipeline.core.errors import UserError
from pipeline.data.config import ClipConfig
from pipeline.data.feed.clips import load_clip
from pipeline.data.feed.sampling import view_indices
from pipeline.data.store.prepared import PreparedDataset
from pipeline.data.store.shards import read_video
from pipeline.eval.load import load
from pipeline.eval.metrics import softmax
from pipeline.finetune.mining import new_campaign
from pipeline.finetune.whatif import EditedNetwork, clip_frames, open_desk
from pipeline.finetune.windows import named


@pytest.mark.parametrize("sampling", ["dense", "uniform"])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_campaigns_window_leads_back_to_the_frames_of_the_clip(sampling, stride):
    clip = ClipConfig(frames=8, stride=stride, sampling=sampling, size=32, short_side=32)
    for frames in range(1, 40):
        indices = view_indices(frames, clip, 0, 1)
        np.testing.assert_array_equal(clip_frames(named(indices, clip, frames), frames, clip), indices[0])


@pytest.mark.parametrize("number", [0, 1])
def test_the_networks_own_attention_changes_nothing_and_an_edit_does(tiny_root, tiny_checkpoint, number):
    network = load(tiny_checkpoint)
    video = PreparedDataset.open(tiny_root).videos("validation")[number]  # 14 and 5 frames
    encoded = read_video(tiny_root, video.shard, video.row)
    clip = load_clip(encoded, network.recipe.clip)
    window = named((clip.idx_T, clip.valid_T), network.recipe.clip, video.frames)
    desk, answer = EditedNetwork(network), network.answer(clip.x_THWC[None])
    plain_K = desk.scores(encoded, window, None)
    np.testing.assert_allclose(plain_K, softmax(answer.logits_BK[0]), rtol=1e-5)

    edited_V = np.random.default_rng(0).random(video.frames).astype(np.float32)
    found_K = desk.scores(encoded, window, edited_V)
    x_BCTHW = torch.from_numpy(clip.x_THWC[None]).float()
    mean_C, std_C = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([58.395, 57.12, 57.375])
    x_BCTHW = ((x_BCTHW - mean_C) / std_C).permute(0, 4, 1, 2, 3)
    override_BT = torch.from_numpy(edited_V[clip.idx_T])[None]
    with torch.inference_mode():
        expected_K = network.model(x_BCTHW, temporal_override_BT=override_BT).logits_BK[0].softmax(0)
    np.testing.assert_allclose(found_K, expected_K, rtol=1e-4)
    assert np.abs(found_K - plain_K).max() > 1e-4


def test_a_baseline_is_refused(make_checkpoint):
    with pytest.raises(UserError, match="no attention to replace"):
        EditedNetwork(load(make_checkpoint("baseline")))


def test_a_service_asks_the_network_of_a_run(tiny_root, tiny_checkpoint, make_checkpoint, tmp_path):
    """An item as the store holds it, through the desk that the job opens; a network of other classes is refused."""
    dataset, database = PreparedDataset.open(tiny_root), Database(str(tmp_path / "a.db"))
    video = dataset.videos("train")[0]
    blank = new_campaign("c", "m", dataset, "", CampaignSettings())
    item = CampaignItem(
        video=video.id,
        label=video.label,
        predicted=1,
        top5=(1,),
        top5_scores=(0.9,),
        true_score=0.1,
        true_rank=2,
        margin=0.8,
        num_frames=video.frames,
        attention_V=np.full(video.frames, 0.5, np.float32),
        window=(2, 10, 1),
        windows=((0, 8, 1), (4, 12, 1)),
        priority=0.2,
    )
    write_campaign(str(tmp_path / "campaign"), replace(blank, items=(item,)))
    import_campaign(database, str(tmp_path / "campaign"))
    pictures = Pictures(database, workers=1)
    renamed = make_checkpoint(classes=("Closing something", *dataset.classes[1:]))
    with pytest.raises(UserError, match=r"other classes than campaign c\. Received: 3 classes: Closing"):
        open_desk(renamed, str(tmp_path), database, pictures)
    desk = open_desk(tiny_checkpoint, str(tmp_path), database, pictures)
    try:
        with database.read() as connection:
            stored = connection.execute(sa.select(items)).one()
        ramp = [t / video.frames for t in range(video.frames)]
        answer = asyncio.run(desk.ask("ada", stored, ramp, dataset.classes))
    finally:
        desk.close()
        pictures.close()
        database.close()
    network = EditedNetwork(load(tiny_checkpoint))
    encoded = read_video(tiny_root, video.shard, video.row)
    expected_K = network.scores(encoded, (2, 10, 1), np.array(ramp, np.float32))
    assert answer.after.true_score == pytest.approx(expected_K[video.label])
    assert answer.before.true_score == pytest.approx(network.scores(encoded, (2, 10, 1), None)[video.label])
