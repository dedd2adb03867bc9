"""Eight programs and an admin annotate what a served campaign holds, from the printed link to a sealed batch."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import simulate_annotators
from pipeline.annotate.batches import read_batch
from pipeline.annotate.campaign import CampaignItem, CampaignSettings, write_campaign
from pipeline.annotate.simulate import levels_of
from pipeline.core.errors import UserError
from pipeline.data.store.prepared import PreparedDataset
from pipeline.finetune.mining import new_campaign

ROOT = Path(__file__).parents[2]


def item(video):
    return CampaignItem(
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
        window=(0, 8, 1),
        windows=((0, 8, 1),),
        priority=0.2,
    )


@pytest.fixture
def campaign(tiny_root, tmp_path):
    """Every tiny video, half of them to be annotated twice; returns the folder, and their active frames."""
    dataset = PreparedDataset.open(tiny_root)
    videos = [*dataset.videos("train"), *dataset.videos("validation")]
    settings = CampaignSettings(double_share=0.5, gold_share=0.0)
    blank = new_campaign("c", "m", dataset, "", settings)
    write_campaign(str(tmp_path / "campaign"), replace(blank, items=tuple(item(video) for video in videos)))
    active = {video.id: [video.frames // 3 <= t < video.frames // 2 for t in range(video.frames)] for video in videos}
    pq.write_table(pa.table({"id": list(active), "active": list(active.values())}), tmp_path / "truth.parquet")
    return tmp_path / "campaign", active


@pytest.mark.parametrize("errors", [0.0, 0.4])
def test_a_campaign_is_annotated_adjudicated_and_sealed(campaign, errors, tmp_path, capsys):
    folder, active = campaign
    batches, truth = tmp_path / "batches", tmp_path / "truth.parquet"
    command = [sys.executable, "jobs/serve_annotation.py", "--campaign", str(folder), "--port", "0", "--role", "admin"]
    command += ["--database", str(tmp_path / "a.db"), "--batches", str(batches), "--invite", "Grace"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env={**os.environ}) as server:
        try:
            link = re.match(r"invitation for Grace \(admin\): (\S+)\n", server.stdout.readline())[1]
            assert server.stdout.readline().startswith("serving at")
            arguments = ["--invitation", link, "--campaign", str(folder), "--truth", str(truth)]
            assert simulate_annotators.main([*arguments, "--errors", str(errors)]) == 0
        finally:
            server.terminate()
    printed = capsys.readouterr().out
    (batch,) = batches.iterdir()
    rows = read_batch(str(batch)).rows
    assert f"sealed {batch.name}: {len(active)} clips" in printed
    double = round(0.5 * len(active))
    assert sum(int(n) for n in re.findall(r"annotator \d: (\d+) clips", printed)) == len(active) + double
    wrong = 0
    for row in rows:
        expected = levels_of(np.array(active[row.video_id])).tolist()
        wrong += sum(score != level for score, level in zip(row.scores, expected, strict=True))
        if row.decision == "adjudicated":
            assert list(row.scores) == expected
    assert (wrong > 0) == (errors > 0)
    settled = sum(row.decision == "adjudicated" for row in rows)
    assert f"admin: {settled} disagreements settled" in printed
    assert f"{double} clips answered twice, {double - settled} agreed" in printed
    assert (settled > 0) == (errors > 0)


def test_what_is_no_invitation_is_named(tmp_path):
    with pytest.raises(UserError, match="no link"):
        simulate_annotators.main(["--invitation", "abc", "--campaign", str(tmp_path), "--truth", "t"])
