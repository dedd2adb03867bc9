"""Predictions of a split through Ray, against clip-by-clip forward passes; every video once, or an error."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from models import ModelConfig, build_model
from pipeline.core import storage
from pipeline.core.errors import UserError
from pipeline.data.config import ClipConfig
from pipeline.data.records import PreparedVideo
from pipeline.data.store.prepared import PreparedDataset
from pipeline.data.store.shards import decode_frames, read_video
from pipeline.data.video.decode import decode_video
from pipeline.eval.load import INVERSIONS
from pipeline.eval.predict import PredictJob, _Merger, predict
from pipeline.eval.protocol import protocol_of

# Ray Data warns about its own deprecated fields whenever it copies its own context.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context")

MEAN, STD = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
CLIP = ClipConfig(frames=8, size=32, short_side=32)
LENGTHS = (14, 5, 20, 8, 11, 17, 9)


def forward(root, video, start, **options):
    """One clip of eight frames from `start`, cut, normalised and recognised by hand; frames are stored 38 x 32."""
    encoded = read_video(root, video.shard, video.row)
    idx = np.minimum(np.arange(start, start + 8), len(encoded.jpeg_V) - 1)
    frames = decode_frames(encoded, idx.tolist())
    assert frames.shape[1:3] == (32, 38)
    x = (frames[:, :, 3:35] - MEAN) / STD
    torch.manual_seed(0)
    model = build_model(ModelConfig(depth=10, width=8, classes=3, frames=8)).eval()
    with torch.inference_mode():
        output = model(torch.from_numpy(x.astype(np.float32)).permute(3, 0, 1, 2)[None], **options)
    softmax = [torch.softmax(logits[0], 0).numpy() for logits in (output.logits_BK, output.att_logits_BK)]
    return (*softmax, output.temporal_B1T11[0, 0, :, 0, 0].numpy(), output.spatial_B1THW[0, 0].numpy(), idx)


def run(root, checkpoint, text="8", *, split="validation", **options):
    job = PredictJob(checkpoint=checkpoint, split=split, fold=1, protocol=protocol_of(CLIP, text), batch=3, **options)
    return list(predict(PreparedDataset.open(root), job))


@pytest.mark.ray
def test_one_clip_equals_a_direct_forward_pass_in_listed_order(ray_cluster, tiny_root, tiny_checkpoint):
    videos = PreparedDataset.open(tiny_root).videos("validation")
    rows = run(tiny_root, tiny_checkpoint, actors=2)
    assert [row["id"] for row in rows] == [video.id for video in videos]
    assert [row["frames"] for row in rows] == list(LENGTHS)
    assert [row["label"] for row in rows] == [video.label for video in videos]
    for row, video in zip(rows, videos, strict=True):
        start = max(0, (video.frames - 8 + 1) // 2)  # the middle of the starts that fit
        scores, att_scores, temporal, spatial, idx = forward(tiny_root, video, start)
        assert row["idx"] == idx.tolist()
        assert row["valid"] == [start + t < video.frames for t in range(8)]
        np.testing.assert_allclose(row["scores"], scores, rtol=1e-4)
        np.testing.assert_allclose(row["att_scores"], att_scores, rtol=1e-4)
        np.testing.assert_allclose(row["temporal"], temporal, atol=1e-5)
        np.testing.assert_allclose(np.reshape(row["spatial"], row["spatial_shape"]), spatial, atol=1e-5)


@pytest.mark.ray
def test_two_clips_are_the_mean_of_two_clips_and_inversions_reach_the_network(ray_cluster, tiny_root, tiny_checkpoint):
    videos = PreparedDataset.open(tiny_root).videos("validation")
    rows = run(tiny_root, tiny_checkpoint, "8x2", inversions=INVERSIONS, maps="temporal")
    assert [(row["id"], row["inversion"]) for row in rows] == [(v.id, i) for v in videos for i in INVERSIONS]
    for row in rows:
        video = next(v for v in videos if v.id == row["id"])
        options = {
            "invert_spatial": row["inversion"] in ("spatial", "both"),
            "invert_temporal": row["inversion"] in ("temporal", "both"),
        }
        free = max(1, video.frames - 7)  # starts that fit; the clips begin at a quarter and at three quarters of them
        clips = [forward(tiny_root, video, start, **options) for start in (free // 4, 3 * free // 4)]
        np.testing.assert_allclose(row["scores"], (clips[0][0] + clips[1][0]) / 2, rtol=1e-4)
        np.testing.assert_allclose(row["att_scores"], (clips[0][1] + clips[1][1]) / 2, rtol=1e-4)
        np.testing.assert_allclose(row["temporal"], clips[0][2], atol=1e-5)
        assert row["spatial"] is None


@pytest.mark.ray
def test_a_hidden_label_and_a_baseline_without_attention(ray_cluster, tiny_root, make_checkpoint):
    (row,) = run(tiny_root, make_checkpoint("baseline"), split="test")
    assert row["label"] == -1
    assert len(row["scores"]) == 3
    assert row["att_scores"] is row["temporal"] is row["spatial"] is None


@pytest.mark.ray
def test_what_the_cluster_cannot_hold_is_refused_before_it_waits(ray_cluster, tiny_root, tiny_checkpoint):
    with pytest.raises(UserError, match="--actors"):
        run(tiny_root, tiny_checkpoint, actors=9)
    with pytest.raises(UserError, match="GPU"):
        run(tiny_root, tiny_checkpoint, gpu=True)


@pytest.mark.ray
def test_frames_larger_than_the_stored_ones_are_said_once(ray_cluster, tiny_root, tiny_checkpoint, caplog):
    job = PredictJob(
        checkpoint=tiny_checkpoint, split="validation", fold=1, protocol=protocol_of(replace(CLIP, short_side=36))
    )
    for _ in range(2):
        predict(PreparedDataset.open(tiny_root), job)
    assert caplog.text.count("with a short side of 32, so test frames are enlarged to clip.short_side=36") == 1


VIDEOS = [PreparedVideo(f"v{i}", i, 8, "shards/0.arrow", i) for i in range(3)]


def view(video_id, number, invert="none", scores=(0.25, 0.75)):
    attention = {"temporal": None, "spatial": None, "spatial_shape": None, "att_scores": None}
    row = {"id": video_id, "view": number, "inversion": invert, "scores": list(scores), "idx": [0], "valid": [True]}
    return row | attention


def test_views_in_any_order_give_the_same_rows():
    views = [view(v.id, n, scores=(0.1 * n, 0.3)) for v in VIDEOS for n in range(3)]
    forwards, backwards = _Merger(VIDEOS, 3, ("none",)), _Merger(VIDEOS, 3, ("none",))
    first = [row for v in views for row in forwards.add(v)]
    second = [row for v in reversed(views) for row in backwards.add(v)]
    forwards.reconcile()
    assert len(first) == len(second) == 3
    for a, b in zip(first, reversed(second), strict=True):
        assert a["id"] == b["id"]
        assert (a["scores"] == b["scores"]).all()
        assert a["scores"] == pytest.approx([0.1, 0.3])


@pytest.mark.parametrize(
    ("views", "words"),
    [
        ([view("v0", 0), view("v0", 0)], "view"),
        ([view("v0", 0), view("v1", 0), view("v0", 0)], "video v0"),
        ([view("stranger", 0)], "stranger"),
        ([view("v0", 0), view("v2", 0)], "missing: v1"),
    ],
)
def test_double_strange_and_missing_predictions_raise(views, words):
    def merge():
        merger = _Merger(VIDEOS, 1, ("none",))
        for one in views:
            list(merger.add(one))
        merger.reconcile()

    with pytest.raises(RuntimeError, match=words):
        merge()


def test_a_half_seen_video_is_missing():
    merger = _Merger(VIDEOS[:1], 2, ("none",))
    assert list(merger.add(view("v0", 1))) == []
    with pytest.raises(RuntimeError, match="0 of 1"):
        merger.reconcile()


def test_stored_frames_are_the_videos_frames(tiny_root, tiny_videos):
    """The oracle above reads shards; this ties the shards to the files."""
    video = PreparedDataset.open(tiny_root).videos("validation")[2]
    original = decode_video(str(tiny_videos / f"{video.id}.mp4")).frames_VHWC
    stored = decode_frames(read_video(tiny_root, video.shard, video.row), range(video.frames))
    assert storage.exists(tiny_root)
    assert len(original) == len(stored) == 20
    # 48 x 40 became 38 x 32: means of the whole picture survive the resize within JPEG's rounding.
    assert np.abs(original.mean(axis=(1, 2)) - stored.mean(axis=(1, 2))).max() < 2.0
