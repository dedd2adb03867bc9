"""The mining job from its command line to a campaign that the annotation store takes in."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.cli import guarded
from jobs.mine_misclassified import main
from pipeline.annotate.campaign import read_campaign
from pipeline.annotate.database import Database
from pipeline.annotate.importing import import_campaign
from pipeline.data.feed.clips import load_clip
from pipeline.data.store.prepared import PreparedDataset
from pipeline.data.store.shards import read_video
from pipeline.eval.load import load


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context")
def test_a_campaign_holds_every_misclassified_training_clip_of_the_chosen_classes(
    ray_cluster, tiny_root, tiny_checkpoint, tmp_path, capsys, monkeypatch
):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    dataset, network = PreparedDataset.open(tiny_root), load(tiny_checkpoint)
    said = {}
    for video in dataset.videos("train"):
        clip = load_clip(read_video(tiny_root, video.shard, video.row), network.recipe.clip)
        said[video.id] = (video, int(network.answer(clip.x_THWC[None]).logits_BK[0].argmax()))
    wrong = {name for name, (video, predicted) in said.items() if predicted != video.label}
    right = said.keys() - wrong
    assert wrong, "an untrained network says the same of everything"
    truth, out = tmp_path / "truth.parquet", tmp_path / "campaign"
    active = [[t > 3 for t in range(video.frames)] for video, _ in said.values()]
    pq.write_table(pa.table({"id": list(said), "active": active}), truth)

    arguments = ["--run", tiny_checkpoint, "--storage", str(tmp_path), "--out", str(out), "--below", "1.01"]
    assert guarded(main, [*arguments, "--name", "first", "--truth", str(truth)]) == 0

    printed = capsys.readouterr().out
    assert "2 training and 7 validation clips scored" in printed
    assert f"{len(wrong)} misclassified training clips to annotate, {len(right)} examples" in printed
    assert "validation labels too" in printed
    campaign, _ = read_campaign(str(out))
    assert {item.video for item in campaign.items if item.kind == "work"} == wrong
    assert {item.video for item in campaign.items if item.kind == "example"} == right
    assert campaign.leak
    assert campaign.settings.gold_share == 0
    assert campaign.passport == dataset.passport
    for item in campaign.items:
        video, predicted = said[item.video]
        assert (item.label, item.num_frames, item.predicted) == (video.label, video.frames, predicted)
        assert item.attention_V.shape == (video.frames,)
        assert np.ptp(item.attention_V) > 0
    facts = json.loads((out / "mining.json").read_text())
    assert facts["counts"]["chosen_clips"] == 2 == facts["counts"]["chosen_right"] + facts["counts"]["chosen_wrong"]
    assert sum(row["train_videos"] for row in facts["classes"]) == 2
    database = Database(str(tmp_path / "store.db"))
    assert import_campaign(database, str(out)) == "first"
    database.close()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_baseline_has_no_attention_to_correct(make_checkpoint, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr("pipeline.core.ray_session.connect", lambda cpus: None)  # refused before any cluster is needed
    arguments = ["--run", make_checkpoint("baseline"), "--storage", str(tmp_path), "--out", str(tmp_path / "out")]
    assert guarded(main, arguments) == 2
    assert "no attention to correct" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
