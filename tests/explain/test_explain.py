"""Windows cover the video, and what is explained is what the network answers."""

import dataclasses
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from models import ModelConfig, build_model
from pipeline.core.errors import UserError
from pipeline.data.config import ClipConfig
from pipeline.data.feed.augment import view_crop
from pipeline.data.feed.clips import View, load_original, load_views
from pipeline.data.listing.sources import load_listing
from pipeline.data.prepare.ingest import IngestConfig, shrink
from pipeline.data.prepare.run import PrepareConfig, in_process, prepare
from pipeline.data.store.prepared import PreparedDataset
from pipeline.data.store.shards import Codec, read_video
from pipeline.data.video.decode import decode_video
from pipeline.eval.load import load
from pipeline.explain import explain
from pipeline.explain.explain import explain_video, window_indices, with_stride

MEAN, STD = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
CLIPS = Path(__file__).parents[2].parent / "shared" / "clips"


@pytest.mark.parametrize("stride", [1, 3])
@pytest.mark.parametrize("frames", [1, 5, 8, 9, 22, 23, 40, 100])
def test_windows_cover_the_video_and_end_with_it(frames, stride):
    clip = ClipConfig(frames=8, stride=stride, size=32, short_side=32)
    windows = window_indices(frames, clip)
    span = 7 * stride + 1
    assert len(windows) == max(1, -(-frames // span))
    seen = np.concatenate([idx[valid] for idx, valid in windows])
    assert all(len(idx) == 8 and idx.dtype == np.int32 for idx, _ in windows)
    assert seen.min() == 0
    if frames >= span:
        assert all(valid.all() for _, valid in windows)
        assert all((np.diff(idx) == stride).all() for idx, _ in windows)
        assert seen.max() == frames - 1
    if stride == 1:
        assert set(seen) == set(range(frames))
    starts = [idx[0] for idx, _ in windows]
    assert starts == sorted(set(starts))
    if len(starts) > 2:
        assert starts[1] == span


def test_a_uniform_network_sees_the_video_in_one_window():
    clip = ClipConfig(frames=8, sampling="uniform", size=32, short_side=32)
    ((idx, valid),) = window_indices(80, clip)
    assert idx.tolist() == [5, 15, 25, 35, 45, 55, 65, 75]
    assert valid.all()


def test_windows_hold_a_direct_forward_pass(tiny_checkpoint, tiny_videos):
    path = str(tiny_videos / "validation-4.mp4")  # 20 frames: windows from 0, 8 and 12
    windows = explain_video(load(tiny_checkpoint), path, "name", label=2, active_V=np.arange(20) > 9)
    assert [w.idx_T[0] for w in windows] == [0, 8, 12]
    torch.manual_seed(0)
    model = build_model(ModelConfig(depth=10, width=8, classes=3, frames=8)).eval()
    frames = decode_video(path).frames_VHWC
    for window in windows:
        # The picture that the network saw: 48 x 40 resized to 38 x 32 and its middle cut out.
        assert window.x_THWC.shape == (8, 32, 32, 3)
        difference = frames[window.idx_T].mean(axis=(1, 2)) - window.x_THWC.mean(axis=(1, 2))
        assert np.abs(difference).max() < 12  # the cut loses the sides; the colours stay those of these frames
        x_BCTHW = torch.from_numpy(((window.x_THWC - MEAN) / STD).astype(np.float32)).permute(3, 0, 1, 2)[None]
        with torch.inference_mode():
            output = model(x_BCTHW)
        np.testing.assert_allclose(window.logits_K, output.logits_BK[0], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(window.att_logits_K, output.att_logits_BK[0], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(window.temporal_T, output.temporal_B1T11[0, 0, :, 0, 0], atol=1e-5)
        np.testing.assert_allclose(window.spatial_THW, output.spatial_B1THW[0, 0], atol=1e-5)
        assert window.active_T.tolist() == (window.idx_T > 9).tolist()
        assert (window.label, window.fps) == (2, 12.0)


def test_the_centre_is_the_clip_of_an_evaluation(tiny_checkpoint, tiny_videos):
    (window,) = explain_video(load(tiny_checkpoint), str(tiny_videos / "validation-4.mp4"), "n", whole=False)
    assert window.idx_T.tolist() == list(range(6, 14))
    assert window.label is None


def psnr(a, b):
    return 10 * np.log10(255**2 / np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2))


@pytest.mark.skipif(not CLIPS.is_dir(), reason="the official demo clips are not beside the checkout")
def test_the_pixels_are_those_of_evaluation_and_registered_model(tiny_checkpoint, tmp_path):
    """A real clip much larger than the network's side: 4 times fewer rows, so that reduction is most of the work."""
    source = max(CLIPS.glob("**/*.webm"), key=lambda path: path.stat().st_size)
    videos, root = tmp_path / "videos", str(tmp_path / "prepared")
    videos.mkdir()
    shutil.copy(source, videos / "a.webm")
    (videos / "videos.csv").write_text("path,label,split\na.webm,x,validation\n")
    # So small a picture is all edges; at quality 95 the compression alone would take 37 dB.
    config = PrepareConfig(ingest=IngestConfig(short_side=32, codec=Codec(quality=100)), shard_videos=1)
    prepare(load_listing("folder", str(videos)), root, config, in_process)
    (video,) = PreparedDataset.open(root).videos("validation")
    network = load(tiny_checkpoint)
    clip = network.recipe.clip
    (window,) = explain_video(network, str(videos / "a.webm"), "n", whole=False)

    (original,) = load_original(str(videos / "a.webm"), clip)
    (stored,) = load_views(read_video(root, video.shard, video.row), clip, [View()])
    assert (window.x_THWC == original.x_THWC).all()
    assert window.idx_T.tolist() == original.idx_T.tolist() == stored.idx_T.tolist()
    assert psnr(window.x_THWC, stored.x_THWC) >= 40
    frames = decode_video(str(source)).frames_VHWC
    assert min(frames.shape[1:3]) > 4 * clip.short_side
    for part in explain_video(network, str(videos / "a.webm"), "n"):
        reduced = np.stack([shrink(frames[v], clip.short_side) for v in part.idx_T])
        assert (part.x_THWC == view_crop(reduced, clip, crop=0, crops=1)).all()


def test_a_video_of_many_windows_is_read_once(tiny_checkpoint, tiny_videos, monkeypatch):
    calls = []
    for place, name in ((explain, "fetch"), (explain, "read_original")):
        whole = getattr(place, name)
        monkeypatch.setattr(place, name, lambda *args, whole=whole, name=name: calls.append(name) or whole(*args))
    assert len(explain_video(load(tiny_checkpoint), str(tiny_videos / "validation-4.mp4"), "n")) == 3
    assert calls == ["fetch", "read_original"]


def test_a_stride_makes_longer_windows(tiny_checkpoint, tiny_videos):
    windows = explain_video(with_stride(load(tiny_checkpoint), 2), str(tiny_videos / "validation-4.mp4"), "n")
    assert [w.idx_T.tolist() for w in windows] == [list(range(0, 15, 2)), list(range(5, 20, 2))]


def test_what_cannot_be_explained_is_named(tiny_checkpoint, make_checkpoint, tiny_videos, tmp_path, monkeypatch):
    network, video = load(tiny_checkpoint), str(tiny_videos / "validation-4.mp4")
    with pytest.raises(UserError, match="no attention to show"):
        explain_video(load(make_checkpoint("baseline")), video, "n")
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(Path(video).read_bytes()[:900])
    for path in (str(broken), str(tmp_path / "absent.mp4")):
        with pytest.raises(UserError, match="cannot be decoded"):
            explain_video(network, path, "n")
    monkeypatch.setattr("pipeline.explain.explain.MOST_WINDOWS", 2)
    with pytest.raises(UserError, match=r"3 windows.*--centre"):
        explain_video(network, video, "n")


@pytest.mark.skipif(not CLIPS.exists(), reason="the real clips are not beside the checkout")
@pytest.mark.parametrize("clip", sorted(CLIPS.glob("[ku]*/*/*")) + sorted(CLIPS.glob("ssv2/*")), ids=os.path.basename)
def test_real_clips_are_explained_whole(tiny_checkpoint, clip):
    network = with_stride(load(tiny_checkpoint), 8)
    windows = explain_video(network, str(clip), clip.name)
    length = len(decode_video(str(clip)).frames_VHWC)
    assert windows[-1].idx_T[-1] == length - 1
    for window in windows:
        for attention in (window.spatial_THW, window.temporal_T):
            assert 0 <= attention.min() <= attention.max() <= 1
        assert np.isfinite(window.logits_K).all()
        assert dataclasses.asdict(window)["fps"] > 5
