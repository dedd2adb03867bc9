"""Attention for every frame of whole videos, against a network asked clip by clip."""

import numpy as np
import pytest

from pipeline.core.errors import UserError
from pipeline.data.config import ClipConfig
from pipeline.data.feed.augment import view_crop
from pipeline.data.store.prepared import PreparedDataset
from pipeline.data.store.shards import decode_frames, read_video
from pipeline.eval.load import load
from pipeline.eval.predict import PredictJob
from pipeline.eval.protocol import protocol_of
from pipeline.finetune.windows import attend, fold, named, whole_windows


@pytest.mark.parametrize("sampling", ["dense", "uniform"])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_every_frame_of_a_video_of_any_length_is_shown(sampling, stride):
    clip = ClipConfig(frames=8, stride=stride, sampling=sampling, size=32, short_side=32)
    for frames in range(1, 60):
        windows = whole_windows(frames, clip)
        shown = {int(i) for idx_T, valid_T in windows for i in idx_T[valid_T]}
        assert shown == set(range(frames)), (sampling, stride, frames)
        for idx_T, valid_T in windows:
            start, stop, step = named((idx_T, valid_T), clip, frames)
            assert len(idx_T) == 8
            assert valid_T[0]
            assert 0 <= start < stop <= frames
            assert step >= 1


def test_dense_clips_lie_end_to_end_and_the_last_ends_with_the_video():
    clip = ClipConfig(frames=8, size=32, short_side=32)
    starts = {n: [int(idx_T[0]) for idx_T, _ in whole_windows(n, clip)] for n in (3, 8, 9, 16, 20, 24)}
    assert starts == {3: [0], 8: [0], 9: [0, 1], 16: [0, 8], 20: [0, 8, 12], 24: [0, 8, 16]}


def test_overlaps_are_averaged_and_padding_is_dropped():
    temporal_NT = np.array([[0.1, 0.2, 0.3], [0.5, 0.6, 0.9]], np.float32)
    idx_NT = np.array([[0, 1, 2], [1, 2, 2]], np.int32)
    valid_NT = np.array([[True] * 3, [True, True, False]])
    np.testing.assert_allclose(fold(temporal_NT, idx_NT, valid_NT, 3), [0.1, 0.35, 0.45])
    maps_NThw = temporal_NT[:, :, None, None] * np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
    np.testing.assert_allclose(fold(maps_NThw, idx_NT, valid_NT, 3)[1], [[0.35, 0.7], [1.05, 1.4]], rtol=1e-6)
    with pytest.raises(RuntimeError, match="1 of 4 frames are in no clip"):
        fold(temporal_NT, idx_NT, valid_NT, 4)


def test_a_control_of_one_repeated_frame_is_refused():
    with pytest.raises(UserError, match="one repeated frame"):
        whole_windows(9, ClipConfig(frames=8, size=32, short_side=32, repeat_one_frame=True))


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context")
def test_attention_is_the_networks_own_never_stretched(ray_cluster, tiny_root, tiny_checkpoint):
    dataset, network = PreparedDataset.open(tiny_root), load(tiny_checkpoint)
    videos = [dataset.videos("validation")[i] for i in (2, 1, 5)]  # 20, 5 and 17 frames
    clip = network.recipe.clip
    job = PredictJob(checkpoint=tiny_checkpoint, split="", fold=1, protocol=protocol_of(clip), batch=2)
    found = list(attend(tiny_root, videos, job))
    assert [seen.video for seen in found] == [video.id for video in videos]
    starts = ((0, 8, 12), (0,), (0, 8, 9))
    for seen, video, firsts in zip(found, videos, starts, strict=True):
        encoded = read_video(tiny_root, video.shard, video.row)
        values, maps = [[] for _ in range(video.frames)], [[] for _ in range(video.frames)]
        for start in firsts:
            frames = [min(start + t, video.frames - 1) for t in range(8)]
            x_THWC = view_crop(decode_frames(encoded, frames), clip, crop=0, crops=1)
            answer = network.answer(x_THWC[None])
            for t in range(min(8, video.frames - start)):
                values[start + t].append(answer.temporal_BT[0, t])
                maps[start + t].append(answer.spatial_BTHW[0, t])
        np.testing.assert_allclose(seen.attention_V, [np.mean(v) for v in values], rtol=1e-5)
        np.testing.assert_allclose(seen.spatial_Vhw, [np.mean(m, axis=0) for m in maps], rtol=1e-5)
        assert seen.attention_V.min() > 0.0
        assert seen.attention_V.max() < 1.0
        assert [window[0] for window in seen.windows] == list(firsts)
